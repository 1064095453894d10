"""From a plan to texts: what each file and each template is to hold. Pure: reads and writes no file."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bem_core.config.merge import combine, disagreements, merge, overlay, typed_equal
from bem_core.config.resolver import value_at
from migrate import edits
from migrate.configs import figures
from migrate.configs.comments import Holder, Moved, holders_of, lines_above
from migrate.configs.edit import Rewritten, rewrite
from migrate.configs.findings import lost
from migrate.configs.inputs import Chain, Inputs, Options
from migrate.configs.layout import Keys
from migrate.configs.leaves import Path, flatten, unflatten
from migrate.configs.names import Namer
from migrate.configs.render import Body, members_in, render, with_header
from migrate.configs.report import Size, size_of
from migrate.configs.search import Plan
from migrate.configs.source import DELETE, LeftAlone, Source, from_bytes, relative
from migrate.report import Finding

_ABSENT = object()


@dataclass
class Output:
    """What a run is to write.

    Attributes:
        files: New texts of experiments by name; a file that does not change is not there.
        sizes: How much those texts hold.
        templates: New texts of templates by real path, bases before what builds on them.
        bases: Real paths of the bases of every experiment, by name.
        alone: Files that could not be edited.
        findings: What a person must look at.
    """

    files: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, Size] = field(default_factory=dict)
    templates: dict[str, str] = field(default_factory=dict)
    bases: dict[str, tuple[str, ...]] = field(default_factory=dict)
    alone: list[LeftAlone] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


@dataclass
class _Node:
    """A template of the plan on its way to a file."""

    path: str
    values: dict[str, Any]
    bases: tuple[str, ...]
    content: dict[str, Any]
    old: Source | None = None
    moved: Moved = field(default_factory=Moved)


class Builder:
    """Builds the output of one plan.

    Args:
        options: What was asked for.
        inputs: What was read.
        given: Real paths of the templates that the plan was made with, in its order.
        chain: Those templates.
        frozen: Whether templates that exist stay byte for byte.
        disk: Files of which the inputs have the expanded text, as they are on disk.
    """

    def __init__(
        self,
        options: Options,
        inputs: Inputs,
        given: Sequence[str],
        chain: Chain,
        frozen: bool = False,
        disk: Mapping[str, Source] | None = None,
    ) -> None:
        self.disk = disk or {}
        self.options = options
        self.inputs = inputs
        self.given = given
        self.chain = chain
        self.frozen = frozen
        self.nodes: dict[str, _Node] = {}
        self.inserted: dict[str, dict[Keys, list[Holder]]] = defaultdict(lambda: defaultdict(list))
        self.output = Output()

    def build(self, plan: Plan, reusable: Mapping[str, Source] | None = None) -> Output:
        """Return the output.

        Args:
            plan: What extends what.
            reusable: Templates that may be kept when the plan has the same again.
        """
        paths = self._place_templates(plan, reusable or {})
        rewritten = self._files(plan, paths)
        used = self._used()
        self.nodes = {path: node for path, node in self.nodes.items() if path in used}
        self._move_comments(rewritten)
        members = self._members()
        for node in self.nodes.values():
            self.output.templates[node.path] = self._template_text(node, members[node.path])
        self._update_given(members)
        return self.output

    def _place_templates(self, plan: Plan, reusable: Mapping[str, Source]) -> dict[int, str]:
        """Give each template of the plan its file."""
        documents = {name: source.coded for name, source in self.inputs.fresh.items()}
        served = _served(plan)
        taken = [os.path.splitext(name)[0] for name in _listing(self.options.folder)]
        namer = Namer(documents, taken)
        paths: dict[int, str] = {}
        for template in plan.templates:
            if template.pinned:
                paths[template.id] = self.given[template.id]
                continue
            members = sorted(served[template.id])
            below = [documents[name] for name in members]
            values = template.values if self.options.order else _ordered(template.values, below)
            bases = tuple(paths[parent] for parent in template.parents)
            old = self._same(values, bases, reusable)
            if old is None:
                name = namer.name(members, values) + ".yaml"
                path = os.path.join(os.path.realpath(self.options.folder), name)
            else:
                path, values = os.path.realpath(old.path), old.coded
            paths[template.id] = path
            content = merge(self._joined(bases), values)
            self.nodes[path] = _Node(path, values, bases, content, old)
        return paths

    def _same(self, values: Mapping[str, Any], bases: tuple[str, ...], reusable: Mapping[str, Source]) -> Source | None:
        for real, source in reusable.items():
            free = real not in self.nodes and self.chain.bases(real) == bases
            if free and typed_equal(dict(values), source.coded, self.options.order):
                return source
        return None

    def _joined(self, reals: Sequence[str]) -> dict[str, Any]:
        """Return what bases stand for together."""
        result: dict[str, Any] = {}
        for real in reals:
            result = combine(result, self._content(real))
        return result

    def _content(self, real: str) -> dict[str, Any]:
        return self.nodes[real].content if real in self.nodes else self.chain.resolved(real)

    def _files(self, plan: Plan, paths: Mapping[int, str]) -> dict[str, Rewritten]:
        """Rewrite every fresh file that extends something, or whose old base goes."""
        rewritten = {}
        for name, source in self.inputs.fresh.items():
            bases = tuple(paths[base] for base in plan.bases.get(name, ()))
            over = self._overlay(source, bases) if bases else source.coded
            if bases and figures.count(over) + len(bases) >= figures.count(source.coded):
                bases, over = (), source.coded
            if not bases and name not in self.inputs.dropped and name not in self.disk:
                self.output.bases[name] = ()
                continue
            new = rewrite(source, over, [relative(base, os.path.dirname(source.path) or ".") for base in bases])
            again = self._read_back(source, new.text, over)
            if isinstance(again, LeftAlone):
                self.output.alone.append(again)
                continue
            self.output.bases[name] = bases
            rewritten[name] = new
            if not self._as_on_disk(name, source, new.text, over):
                self.output.files[name], self.output.sizes[name] = new.text, size_of(again)
            self.output.findings += [lost(source, found, "with the old base_config line") for found in new.lost]
        for name, real in self.inputs.bases.items():
            self.output.bases.setdefault(name, real)
        return rewritten

    def _overlay(self, source: Source, bases: Sequence[str]) -> dict[str, Any]:
        """Return what a file must write over its bases; where they disagree it says which value holds."""
        over = overlay(self._joined(bases), source.coded, order=self.options.order)
        if len(bases) < 2:
            return over
        extra: dict[Path, Any] = {}
        contents = [self._content(base) for base in bases]
        for number, second in enumerate(contents):
            for first in contents[:number]:
                for path in disagreements(first, second):
                    value = value_at(source.coded, path, _ABSENT)
                    if value_at(over, path, _ABSENT) is _ABSENT and value is not _ABSENT:
                        extra[path] = value
        return _combine(over, unflatten(extra)) if extra else over

    def _as_on_disk(self, name: str, source: Source, text: str, over: Mapping[str, Any]) -> bool:
        """Tell whether a file says what it is to say already; only the texts of expanded files may differ then."""
        disk = self.disk.get(name)
        if disk is None:
            return source.bytes_of(text) == source.raw
        bases = tuple(self.chain.find(disk, base) for base in disk.bases or ())
        if bases != self.output.bases[name] or not typed_equal(disk.coded, dict(over)):
            return False
        return not self.options.order or typed_equal(merge(self._joined(bases), disk.coded), source.coded, order=True)

    def _read_back(self, source: Source, text: str, over: Mapping[str, Any]) -> Source | LeftAlone:
        """Return the new text of a file as a file, or why it does not say just what it is to say."""
        again = from_bytes(source.path, source.bytes_of(text), self.options.order, directives=True)
        if isinstance(again, LeftAlone):
            return LeftAlone(source.path, f"cannot be edited by lines ({again.reason})")
        return again if typed_equal(again.coded, dict(over)) else LeftAlone(source.path, "cannot be edited by lines")

    def _used(self) -> set[str]:
        """Return the templates that a file extends, directly or not."""
        stack = [base for bases in self.output.bases.values() for base in bases]
        used: set[str] = set()
        while stack:
            real = stack.pop()
            if real not in used:
                used.add(real)
                stack += self._bases_of(real)
        return used

    def _bases_of(self, real: str) -> tuple[str, ...]:
        return self.nodes[real].bases if real in self.nodes else self.chain.bases(real)

    def _move_comments(self, rewritten: Mapping[str, Rewritten]) -> None:
        """Bring every entry that is gone from a file to the template that has it now."""
        for name, new in rewritten.items():
            source = self.inputs.fresh[name]
            line = list(self._line(self.output.bases[name]))[::-1]
            for holder in holders_of(source, new.removed):
                self._move(holder, line)

    def _line(self, reals: Sequence[str]) -> Iterator[str]:
        for real in reals:
            yield from self._line(self._bases_of(real))
            yield real

    def _move(self, holder: Holder, line: Sequence[str]) -> None:
        path = holder.entry.path
        for real in line:
            values = self.nodes[real].values if real in self.nodes else self.chain.source(real).coded
            if value_at(values, path, _ABSENT) is _ABSENT:
                continue
            if real in self.nodes:
                self.nodes[real].moved.holders[path].append(holder)
            elif holder.comments:
                self.inserted[real][path].append(holder)
            return
        for comment in holder.comments:
            self.output.findings.append(lost(holder.source, comment, "with its key"))

    def _members(self) -> dict[str, list[str]]:
        """Return the names of what extends each template directly, in order."""
        members: dict[str, list[str]] = defaultdict(list)
        for name, bases in self.output.bases.items():
            for base in bases:
                members[base].append(name)
        for real, source in self.inputs.ours.items():
            members[real] += elsewhere(source, self.inputs, self.options)
        members = defaultdict(list, {real: sorted(names) for real, names in members.items()})
        for real in sorted({*self.nodes, *self.inputs.ours, *self.inputs.pinned}):
            for base in self._bases_of(real):
                members[base].append(self.options.name(real))
        return members

    def _template_text(self, node: _Node, members: Sequence[str]) -> str:
        if node.old is not None:
            return with_header(node.old.text, members)
        bases = tuple(relative(base, os.path.dirname(node.path)) for base in node.bases)
        body = Body(node.values, bases, tuple(members), node.moved, self._spare(node))
        return render(body, self.options.order)

    def _spare(self, node: _Node) -> dict[Keys, list[Holder]]:
        """Return entries for the values of a template that no file gave up, from files that hold the same."""
        spare: dict[Keys, list[Holder]] = {}
        for path in flatten(node.values):
            if DELETE in path or node.moved.holders.get(path):
                continue
            found = (source.layout.find(path) for source in self.inputs.fresh.values())
            owners = zip(self.inputs.fresh.values(), found, strict=True)
            spare[path] = [Holder(source, entry) for source, entry in owners if entry is not None]
        return spare

    def _update_given(self, members: Mapping[str, Sequence[str]]) -> None:
        """Bring the headers of older templates up to date, and the comments that belong into them."""
        for real in self.given:
            source = self.chain.source(real)
            ours = real in self.inputs.ours and not self.frozen
            text = self._insert(source, self.inserted.get(real, {}), ours)
            if ours:
                text = with_header(text, members.get(real, ()))
                if text != source.text:
                    self.output.templates[real] = text

    def _insert(self, source: Source, found: Mapping[Keys, Sequence[Holder]], ours: bool) -> str:
        changes = []
        for path, holders in found.items():
            entry = source.layout.find(path)
            there = {comment.text for comment in source.layout.comments(entry)} if entry else set()
            lines = lines_above(holders, there, ("above", "beside", "inside", "below"))
            if entry and ours and not entry.flow:
                indent = source.text[entry.start : entry.key_node.start_mark.index]
                new = "".join(f"{indent}{line}{source.newline}" for line in lines)
                changes.append(edits.Edit(entry.start, entry.start, new, "config"))
                continue
            gone = {text: (h.source, c) for h in reversed(holders) for c in h.comments for text in [c.text]}
            why = f"its key is in {self.options.name(source.path)}, which stays as it is"
            self.output.findings += [lost(*gone[line], why) for line in dict.fromkeys(lines) if line in gone]
        return edits.apply(source.text, changes)


def elsewhere(template: Source, inputs: Inputs, options: Options) -> list[str]:
    """Return the users of a template that a run does not look at: outside its paths, or left alone."""
    home = os.path.dirname(os.path.abspath(options.folder))
    read = {*inputs.fresh, *inputs.kept, *(options.name(real) for real in inputs.ours)}
    names = [name for name in members_in(template.text) if name not in read]
    return [name for name in names if os.path.isfile(os.path.join(home, name))]


def _listing(folder: str) -> list[str]:
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def _served(plan: Plan) -> dict[int, set[str]]:
    """Return the documents that extend each template, directly or not."""
    parents = {template.id: template.parents for template in plan.templates}
    served: dict[int, set[str]] = defaultdict(set)
    for name, bases in plan.bases.items():
        stack = list(bases)
        while stack:
            template = stack.pop()
            served[template].add(name)
            stack += parents[template]
    return served


def _combine(over: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(over)
    for key, value in extra.items():
        held = result.get(key)
        result[key] = _combine(held, value) if isinstance(held, dict) and isinstance(value, dict) else value
    return result


def _ordered(values: Mapping[str, Any], documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return values with the keys of each mapping in the order that most documents use."""
    places: dict[str, list[float]] = {}
    for document in documents:
        keys = [key for key in document if key in values]
        for number, key in enumerate(keys):
            places.setdefault(key, []).append(number / len(keys))
    rank = {key: sum(found) / len(found) for key, found in places.items()}
    result: dict[str, Any] = {}
    for key in sorted(values, key=lambda key: (key != DELETE, round(rank.get(key, 1.0), 6), key)):
        value = values[key]
        below = [document[key] for document in documents if isinstance(document.get(key), dict)]
        result[key] = _ordered(value, below) if isinstance(value, dict) else value
    return result
