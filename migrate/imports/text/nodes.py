"""One tree for YAML, JSON, TOML and INI files, and the check that rewriting changed strings only."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from migrate.edits import Edit, Rewrite, apply
from migrate.imports.text.plan import Plan
from migrate.imports.text.view import View


@dataclass(slots=True, eq=False)
class Node:
    """A value with its place.

    Attributes:
        kind: Mapping, sequence, string, or anything else.
        start: Offset of its first character.
        end: Offset after its last one.
        decode: Returns the content of a string; None when its spelling isn't understood.
        pairs: Keys and values of a mapping.
        items: Members of a sequence.
        tag: Span of an explicit tag that names a Python object (YAML).
    """

    kind: Literal["map", "seq", "str", "other"]
    start: int
    end: int
    decode: Callable[[], View | None] | None = None
    pairs: list[tuple[Node, Node]] = field(default_factory=list)
    items: list[Node] = field(default_factory=list)
    tag: tuple[int, int] | None = None
    _view: View | None = None

    @property
    def view(self) -> View | None:
        """The content of a string, decoded when first asked for."""
        if self._view is None and self.decode is not None:
            self._view, self.decode = self.decode(), None
        return self._view

    @property
    def text(self) -> str:
        """The content of a string, or nothing."""
        return self.view.text if self.view else ""

    def get(self, *keys: str) -> Node | None:
        """Return the value of the first of some keys that a mapping has."""
        for wanted in keys:
            for key, value in self.pairs:
                if key.text == wanted:
                    return value
        return None

    def walk(self) -> Iterator[Node]:
        """Yield this node and everything below it, once each."""
        stack, seen = [self], {id(self)}
        while stack:
            node = stack.pop()
            yield node
            below = [*node.items, *(child for pair in node.pairs for child in pair)]
            fresh = [child for child in below if id(child) not in seen]
            seen.update(map(id, fresh))
            stack += reversed(fresh)


Atoms = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Format:
    """A file format.

    Attributes:
        parse: Returns the nodes of a text; None when it isn't one of this format.
        atoms: Returns type and text of each part of a document, in order, as an independent parser sees them.
    """

    parse: Callable[[str], Node | None]
    atoms: Callable[[str], Atoms | None]


def same_but(form: Format, root: Node, text: str, new: str, edits: Sequence[Edit]) -> bool:
    """Tell whether a rewritten file is the same but for strings in which names were replaced."""
    after = form.parse(new)
    if after is None:
        return False
    old_nodes, new_nodes = list(root.walk()), list(after.walk())
    if len(old_nodes) != len(new_nodes):
        return False
    num_changed = 0
    ordered = sorted(edits)
    starts = [edit.start for edit in ordered]
    for old, now in zip(old_nodes, new_nodes, strict=True):
        if old.kind != now.kind:
            return False
        if old.kind in ("str", "other"):
            inside = ordered[bisect.bisect_left(starts, old.start) : bisect.bisect_left(starts, old.end)]
            num_changed += bool(inside)
            if not _expected(old, now, text, new, inside):
                return False
    return _atoms_agree(form.atoms(text), form.atoms(new), num_changed)


def _expected(old: Node, now: Node, text: str, new: str, inside: list[Edit]) -> bool:
    """Tell whether a scalar is what the edits inside it make of it."""
    if not inside:
        return text[old.start : old.end] == new[now.start : now.end]
    if inside[-1].end > old.end:
        return False
    return apply(text[old.start : old.end], [_moved(edit, old.start) for edit in inside]) == new[now.start : now.end]


def _moved(edit: Edit, by: int) -> Edit:
    return Edit(edit.start - by, edit.end - by, edit.new, edit.kind)


def _atoms_agree(old: Atoms | None, new: Atoms | None, num_changed: int) -> bool:
    if old is None or new is None:
        return old is new
    if len(old) != len(new) or any(before[0] != after[0] for before, after in zip(old, new, strict=True)):
        return False
    return sum(before != after for before, after in zip(old, new, strict=True)) <= num_changed


def finish(plan: Plan, form: Format, root: Node) -> Rewrite:
    """Return the result of a plan if the rewritten file means the same, else one finding and no edits."""
    result = plan.leftovers()
    if result.edits and not same_but(form, root, plan.text, apply(plan.text, result.edits), result.edits):
        message = "the file would not mean the same after its names were replaced"
        return Rewrite([], [plan.ctx.finding(plan.text, result.edits[0].start, "BM113", message)])
    return result


def flattened(value: object) -> Atoms:
    """Flatten what a parser of JSON or TOML returns."""
    found: Atoms = []
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            found.append(("map", str(len(item))))
            stack += reversed([part for pair in item.items() for part in pair])
        elif isinstance(item, (list, tuple)):
            found.append(("seq", str(len(item))))
            stack += reversed(item)
        else:
            found.append((type(item).__name__, item if isinstance(item, str) else repr(item)))
    return found
