"""The list of moves: old qualified names, their new ones, and the longest-match lookup.

A list is written as YAML or JSON, in a long form (``version: 1`` and ``moves:``) or as a plain ``{old: new}`` mapping;
`migrate.moves_file` reads and validates both. This module holds what is left after that: plain data and lookups.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

Kind = Literal["module", "symbol", "auto"]
Blocked = Literal["", "removed", "shim_only"]

FILE_SUFFIXES = frozenset(
    "py pyc yaml yml json toml md rst txt sh cfg ini ipynb pt safetensors csv git com org io".split()
)


@dataclass(frozen=True, slots=True)
class Move:
    """One entry of the list.

    Attributes:
        old: Dotted old name.
        module: New module when the entry says where the module ends (``module:attr``), else the whole new name.
        attr: Dotted attributes inside the new module; empty for a module, or while the boundary isn't known.
        kind: What the old name is; ``auto`` until the tree has been asked.
        removed: Advice to print when the name is gone; such a name is never rewritten.
        shim_only: What changed about the arguments; such a name is never rewritten.
        since: Version in which the name moved.
        removed_in: Version in which the old name stops working.
        note: Free text for people.
        line: Line of the entry in its file, from 1.
    """

    old: str
    module: str = ""
    attr: str = ""
    kind: Kind = "auto"
    removed: str = ""
    shim_only: str = ""
    since: str = ""
    removed_in: str = ""
    note: str = ""
    line: int = 0

    @property
    def new(self) -> str:
        """The dotted new name."""
        return f"{self.module}.{self.attr}" if self.attr else self.module

    @property
    def blocked(self) -> Blocked:
        """Why references stay as they are, or an empty string."""
        return "removed" if self.removed else "shim_only" if self.shim_only else ""


@dataclass(frozen=True, slots=True)
class Target:
    """Where an old name leads after all moves.

    Attributes:
        dotted: The new dotted name. For a blocked name: the name with every move before the blocking one done.
        module_length: Number of leading components that name the module; 0 when the list doesn't say.
        move: The last entry that applied.
        blocked: ``removed`` or ``shim_only`` when the name must not be rewritten further.
    """

    dotted: str
    module_length: int
    move: Move
    blocked: Blocked = ""

    @property
    def module(self) -> str:
        """The module part of the new name, or the whole name when the boundary isn't known."""
        return ".".join(self.dotted.split(".")[: self.module_length or None])

    @property
    def attr(self) -> str:
        """The attributes after the module, or nothing when the boundary isn't known."""
        return ".".join(self.dotted.split(".")[self.module_length :]) if self.module_length else ""


@dataclass
class Moves:
    """All moves of a list, looked up by longest match.

    Attributes:
        entries: Old dotted name -> its entry.
        source: File the list was read from, for messages.
    """

    entries: Mapping[str, Move]
    source: str = ""
    _cache: dict[str, Target | None] = field(default_factory=dict, repr=False, compare=False)

    def resolve(self, dotted: str) -> Target | None:
        """Follow the longest match until no entry applies; None when ``dotted`` is not an old name."""
        try:
            return self._cache[dotted]
        except KeyError:
            self._cache[dotted] = target = self._resolve(dotted)
            return target

    def _resolve(self, dotted: str) -> Target | None:
        target: Target | None = None
        seen = {dotted}
        while (step := self._step(dotted, target)) is not None:
            target = step
            if step.blocked or step.dotted in seen:
                break
            dotted = step.dotted
            seen.add(dotted)
        if target is not None and not target.blocked and target.dotted == dotted and len(seen) == 1:
            return None
        return target

    def _step(self, dotted: str, before: Target | None) -> Target | None:
        """Apply the one entry that matches the most leading components."""
        move, rest = self.match(dotted)
        if move is None:
            return None
        boundary = before.module_length if before else 0
        if move.blocked:
            return Target(dotted, boundary, move, move.blocked)
        new = f"{move.new}.{rest}" if rest else move.new
        if move.kind == "symbol":
            boundary = move.module.count(".") + 1
        elif boundary:
            boundary += new.count(".") - dotted.count(".")
        return Target(new, boundary, move)

    def match(self, dotted: str) -> tuple[Move | None, str]:
        """Return the entry with the longest old name that ``dotted`` equals or lies under, and the rest of the name."""
        end = len(dotted)
        while end > 0:
            move = self.entries.get(dotted[:end])
            if move is not None:
                return move, dotted[end + 1 :]
            end = dotted.rfind(".", 0, end)
        return None, ""

    @cached_property
    def _ancestors(self) -> frozenset[str]:
        """Every proper prefix of an old name."""
        parts = (old.split(".") for old in self.entries)
        return frozenset(".".join(p[:n]) for p in parts for n in range(1, len(p)))

    @cached_property
    def roots(self) -> frozenset[str]:
        """The first component of every old name."""
        return frozenset(old.partition(".")[0] for old in self.entries)

    @cached_property
    def _arrivals(self) -> dict[str, list[str]]:
        """The old modules that are to be found under each new module name."""
        arrivals: dict[str, list[str]] = {}
        for move in self.entries.values():
            if move.kind == "module" and not move.blocked:
                arrivals.setdefault(move.module, []).append(move.old)
        return arrivals

    def origins(self, module: str) -> Iterator[str]:
        """Yield the old names of a module that has, or would have, a given new name."""
        parts = module.split(".")
        for length in range(len(parts), 0, -1):
            for old in self._arrivals.get(".".join(parts[:length]), ()):
                yield ".".join([old, *parts[length:]])

    def receives(self, package: str) -> bool:
        """Whether modules come to a package, or the package itself comes from elsewhere."""
        below = f"{package}."
        return any(new.startswith(below) for new in self._arrivals) or next(self.origins(package), None) is not None

    @cached_property
    def leaves(self) -> frozenset[str]:
        """The last component of every old name."""
        return frozenset(old.rpartition(".")[2] for old in self.entries)

    @cached_property
    def losing(self) -> frozenset[str]:
        """The modules out of which single names moved."""
        return frozenset(old.rpartition(".")[0] for old, move in self.entries.items() if move.kind != "module")

    def loses(self, module: str) -> bool:
        """Whether single names moved out of a module, which may itself move."""
        target = self.resolve(module)
        return module in self.losing or (target is not None and target.dotted in self.losing)

    def leads_to(self, dotted: str) -> bool:
        """Whether an old name lies strictly below ``dotted``, also after the moves of ``dotted`` itself."""
        if dotted in self._ancestors:
            return True
        target = self.resolve(dotted)
        return target is not None and target.dotted in self._ancestors

    def rename(self, name: str) -> tuple[str, Target] | None:
        """Rewrite a name as a string spells it, ``a.b.c`` or ``a.b:c.d``, in the same style.

        Returns:
            The new spelling and its target, or None when ``name`` isn't old. A blocked name may come back unchanged.
        """
        module, colon, attr = name.partition(":")
        target = self.resolve(f"{module}.{attr}" if colon else module)
        if target is None:
            return None
        if not colon:
            return target.dotted, target
        parts = target.dotted.split(".")
        split = target.module_length or len(parts) - (attr.count(".") + 1)
        return f"{'.'.join(parts[:split])}:{'.'.join(parts[split:])}", target

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        """Finds dotted names that begin like an old one; few roots are enough for any number of entries."""
        roots = "|".join(sorted(map(re.escape, self.roots), key=lambda root: (-len(root), root)))
        tail = r"(?:\.[^\W\d]\w*)*+(?::[^\W\d]\w*(?:\.[^\W\d]\w*)*+)?+"
        return re.compile(rf"(?<![\w.\-/@:$\\])(?:{roots or '(?!)'})(?!\w){tail}(?![\w\-/@])")

    def find(
        self, text: str, start: int = 0, end: int | None = None, tags: bool = False
    ) -> Iterator[tuple[int, int, str]]:
        """Find spellings of old names, ``a.b.c`` or ``a.b:c``, and of names below them, at word boundaries.

        Look-alikes are left out: ``bem2-multimodal``, ``bem:latest``, ``bem/x``, ``bem.py``, ``app@bem``.

        Args:
            text: Any text.
            start: Offset to begin at.
            end: Offset to stop at.
            tags: Whether to yield ``module:name`` with a single component before the colon, too.

        Yields:
            Start, end and text of each, in order. Single-component names come too: the caller decides by position.
        """
        for found in self._pattern.finditer(text, start, len(text) if end is None else end):
            name = found.group()
            module, colon, _ = name.partition(":")
            if self.resolve(name.replace(":", ".")) is None or (colon and "." not in module and not tags):
                continue
            if name.count(".") == 1 and name.rpartition(".")[2] in FILE_SUFFIXES and name not in self.entries:
                continue
            yield found.start(), found.end(), name

    def under(self, prefixes: Mapping[str, Container[str]]) -> Moves:
        """Return the list with each entry spelled through other import roots, too, where no entry says otherwise.

        Args:
            prefixes: For each outer root a prefix, ``src`` for ``src.pkg``, and the top-level packages that have it.
        """
        entries = dict(self.entries)
        for prefix, packages in prefixes.items():
            for old, move in self.entries.items():
                if old.partition(".")[0] in packages and self.resolve(f"{prefix}.{old}") is None:
                    along = move.module.partition(".")[0] in packages
                    module = f"{prefix}.{move.module}" if along else move.module
                    entries[f"{prefix}.{old}"] = replace(move, old=f"{prefix}.{old}", module=module)
        return Moves(entries, self.source)

    def with_kinds(self, is_module: Callable[[str], bool | None], names: Container[str] = ()) -> Moves:
        """Return the list with every ``auto`` entry settled.

        Args:
            is_module: Says of a dotted name whether it is a module (True), a name in one (False), or unknown (None).
            names: Old names that can only be names in a module, by the way they are used.
        """
        settled = {old: _settle(move, self, is_module, names) for old, move in self.entries.items()}
        return Moves(settled, self.source)


def _settle(move: Move, moves: Moves, is_module: Callable[[str], bool | None], names: Container[str]) -> Move:
    """Decide whether an entry without ``kind`` is a module or a symbol, and split its new name accordingly."""
    if move.kind != "auto" or move.blocked:
        return move
    answers: Iterable[bool | None] = (
        is_module(move.old),
        True if move.old in moves._ancestors else None,
        is_module(move.new),
        None if "." in move.old else True,
        False if move.old.rpartition(".")[2][:1].isupper() or move.old in names else None,
    )
    if next((answer for answer in answers if answer is not None), True) or "." not in move.new:
        return replace(move, kind="module")
    parts = move.new.split(".")
    split = len(parts) - 1
    while split > 1 and is_module(".".join(parts[:split])) is False:
        split -= 1
    return replace(move, kind="symbol", module=".".join(parts[:split]), attr=".".join(parts[split:]))
