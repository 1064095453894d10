"""A whole run of ``bem-migrate configs``: from paths and options to a report. Prints nothing."""

from __future__ import annotations

import difflib
import gc
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

from bem_core.config.merge import merge
from bem_core.errors import BemError
from migrate.configs import figures
from migrate.configs.build import Builder, Output, elsewhere
from migrate.configs.ceiling import Ceiling, ceiling_of, least
from migrate.configs.expand import expanded
from migrate.configs.inputs import Chain, Inputs, Options, find_files, gather
from migrate.configs.readback import Claim, Mismatch
from migrate.configs.report import Report, Size, TemplateInfo, size_of
from migrate.configs.search import Plan, SearchOptions, Template, search
from migrate.configs.source import LeftAlone, Source, from_text
from migrate.configs.strict import strict
from migrate.configs.verify import Proof
from migrate.journal import Change, Journal

Search = Callable[[Mapping[str, Mapping[Any, Any]], SearchOptions], Plan]


class VerificationError(BemError):
    """A rewritten file would not mean the same; nothing was written."""


def run(options: Options, find: Search = search) -> Report:
    """Move what files share into templates.

    Files that extend something already stay as they are; templates that exist are used and only get new headers.

    Args:
        options: What was asked for.
        find: Finds the plan.

    Raises:
        BemError: The paths, the options, another run, or a mismatch stand in the way; nothing was written.
    """
    with reading(options) as read:
        return Runner(options, "configs", read).go(read.inputs, find)


def refit(options: Options, find: Search = search) -> Report:
    """Start over: resolve what earlier runs have written, and search again.

    Raises:
        BemError: See `run`.
    """
    with reading(options) as read:
        inputs = read.inputs
        chain = Chain({**inputs.pinned, **inputs.ours}, options.root)
        again = [name for name, bases in inputs.bases.items() if bases and all(base in inputs.ours for base in bases)]
        disk = {name: inputs.kept[name] for name in again}
        whole = {name: expanded(source, inputs.bases[name], chain, options.order) for name, source in disk.items()}
        fresh = {**inputs.fresh, **whole}
        inputs = replace(
            inputs,
            fresh={name: fresh[name] for name in sorted(fresh)},
            kept={name: source for name, source in inputs.kept.items() if name not in disk},
            bases={name: bases for name, bases in inputs.bases.items() if name not in disk},
        )
        return Runner(options, "refit", read, disk).go(inputs, find)


class Read(NamedTuple):
    """What a run begins with.

    Attributes:
        inputs: The files.
        proof: Has begun to read them, too.
        begun: When reading began, by `time.perf_counter`.
    """

    inputs: Inputs
    proof: Proof
    begun: float


@contextmanager
def reading(options: Options) -> Iterator[Read]:
    """Yield what there is to work on, and the proof that it will mean the same, which is begun.

    The garbage collector is off meanwhile: it would walk the nodes of all files over and over, and there are no cycles.
    """
    begun, collecting = time.perf_counter(), gc.isenabled()
    gc.disable()
    try:
        listing = find_files(options)
        with Proof(options.root, options.order, options.jobs, len(listing.files)) as proof:
            inputs = gather(options, listing)
            proof.read(
                [
                    Claim(source.path, source.text, name in inputs.dropped, name in inputs.kept)
                    for name, source in sorted({**inputs.fresh, **inputs.kept}.items())
                ]
            )
            yield Read(inputs, proof, begun)
    finally:
        if collecting:
            gc.enable()


class Runner:
    """One run.

    Args:
        options: What was asked for.
        command: What it is called in the report.
        read: What it begins with.
        disk: Files that are looked at with all that they inherit, as they are on disk.
        frozen: Whether templates that exist stay byte for byte.
    """

    def __init__(
        self,
        options: Options,
        command: str,
        read: Read,
        disk: Mapping[str, Source] | None = None,
        frozen: bool = False,
    ) -> None:
        self.read = read
        self.frozen = frozen
        self.options = options
        self.report = Report(options.mode, command)
        self.disk = dict(disk or {})

    def go(self, inputs: Inputs, find: Search) -> Report:
        """Do everything; a file that YAML 1.2 can't read is left alone, and the rest is done without it."""
        refitting = self.report.command == "refit"
        ours, ours_again = ({}, inputs.ours) if refitting else (inputs.ours, {})
        while True:
            chain = Chain({**inputs.pinned, **inputs.ours}, self.options.root)
            given = [*sorted(inputs.pinned), *sorted(ours)]
            plan = plan_of(inputs, self.options, [chain.resolved(real) for real in given], find)
            output = Builder(self.options, inputs, given, chain, self.frozen, self.disk).build(plan, ours_again)
            mismatches = self._verify(inputs, output)
            unreadable = {mismatch.path: mismatch.message for mismatch in mismatches if mismatch.unreadable}
            if not unreadable:
                break
            _leave_alone(inputs, unreadable)
        if mismatches:
            lines = "\n".join(f"{mismatch.path}: {mismatch.message}" for mismatch in mismatches)
            raise VerificationError(f"nothing was written, because this would not be lossless:\n{lines}")
        self._finish(inputs, output, _unused(inputs, output, chain, self.options) if refitting else [])
        return self.report

    def _verify(self, inputs: Inputs, output: Output) -> list[Mismatch]:
        """Read every file back that the run touches, or whose bases it touches."""
        for real, text in output.templates.items():
            from_text(real, text)
        sources = {**inputs.fresh, **inputs.kept}
        touched = [
            source.path
            for name, source in sources.items()
            if name in output.files or name in inputs.kept or name in self.disk
        ]
        self.report.verified = len(touched)
        texts = {sources[name].path: text for name, text in output.files.items()}
        return self.read.proof.check(output.templates, texts, touched)

    def _finish(self, inputs: Inputs, output: Output, unused: Sequence[str]) -> None:
        changes = self._changes(inputs, output, unused)
        self._describe(inputs, output, unused)
        for batch in changes:
            for change in batch:
                self.report.changed[self.options.name(change.path)] = diff(self.options.name(change.path), change)
        if self.options.mode == "write" and self.report.changed:
            self._write(changes)
        self.report.seconds = time.perf_counter() - self.read.begun

    def _changes(self, inputs: Inputs, output: Output, unused: Sequence[str]) -> list[list[Change]]:
        """Return what to write, in an order in which every file can be resolved after each step."""
        old = {real: source.raw for real, source in inputs.ours.items()}
        templates = [
            Change(real, old.get(real), inputs.ours[real].bytes_of(text) if real in old else text.encode())
            for real, text in output.templates.items()
        ]
        sources = {**inputs.fresh, **inputs.kept}
        files = [
            Change(sources[name].path, sources[name].raw, sources[name].bytes_of(text))
            for name, text in output.files.items()
        ]
        gone = [Change(real, inputs.ours[real].raw, None) for real in unused]
        return [[change for change in batch if change.old != change.new] for batch in (templates, files, gone)]

    def _write(self, changes: Sequence[Sequence[Change]]) -> None:
        with Journal(self.options.root).start(["bem-migrate", *sys.argv[1:]]) as active:
            writer = active.writer([*self.options.paths, self.options.folder, os.path.dirname(self.options.folder)])
            for batch in changes:
                outcomes = writer.replace(batch) if batch else []
                failed = [(outcome.path, outcome.error) for outcome in outcomes if outcome.error]
                self.report.errors += failed
                if failed:
                    break  # what comes next would name what is not there, or miss what is still named
            self.report.run = active.id
            active.finish({"changed": len(self.report.changed), "findings": len(self.report.findings)})

    def _describe(self, inputs: Inputs, output: Output, unused: Sequence[str]) -> None:
        """Fill in the figures."""
        report, options = self.report, self.options
        sources = {**inputs.fresh, **inputs.kept}
        report.alone = sorted([*inputs.alone, *output.alone], key=lambda file: file.path)
        report.findings = sorted(f for f in [*inputs.findings, *output.findings] if f.code not in options.ignore)
        report.skipped, report.errors = inputs.skipped, list(inputs.errors)
        sources |= self.disk
        before = {name: size_of(source, name in inputs.dropped) for name, source in sources.items()}
        after = before | output.sizes
        report.experiments = (sum(before.values(), Size()), sum(after.values(), Size()))
        old = {real: source for real, source in inputs.ours.items() if real not in inputs.pinned}
        new = {real: from_text(real, text) for real, text in output.templates.items()}
        now = {real: source for real, source in {**old, **new}.items() if real not in unused}
        report.templates = (_total(old), _total(now))
        chain = Chain({**inputs.pinned, **inputs.ours}, options.root)
        kept = {name: merge(chain.joined(inputs.bases[name]), source.coded) for name, source in inputs.kept.items()}
        documents = {**kept, **{name: source.coded for name, source in inputs.fresh.items()}}
        report.ceiling = self._ceiling(documents, chain, [*inputs.pinned, *inputs.ours])
        report.infos = [
            _info(real, source, options, output, _state(real, old, new)) for real, source in sorted(now.items())
        ]
        report.infos += [_info(real, inputs.ours[real], options, output, "removed") for real in unused]
        report.depth = _depth(Chain({**inputs.pinned, **now}, options.root), output.bases.values())
        report.unshared = sorted(name for name, bases in output.bases.items() if not bases)

    def _ceiling(self, documents: Mapping[str, Mapping[str, Any]], chain: Chain, given: Sequence[str]) -> Ceiling:
        """Return what could at most go; only a refit can do without the templates of earlier runs."""
        experiments, templates = self.report.experiments[0].leaves, self.report.templates[0].leaves
        if self.report.command == "refit":
            return ceiling_of(least(documents), experiments, experiments + templates)
        found = least(documents, [chain.resolved(real) for real in given])
        return ceiling_of(found, experiments, experiments + templates, templates)


def plan_of(inputs: Inputs, options: Options, given: Sequence[Mapping[str, Any]], find: Search) -> Plan:
    """Search until what is left shares nothing that a later run could find with the templates there are."""
    documents = {name: source.coded for name, source in inputs.fresh.items()}
    plan = Plan([Template(i, (), dict(content), pinned=True) for i, content in enumerate(given)])
    plan.bases = dict.fromkeys(documents, ())
    contents = [dict(content) for content in given]
    while left := {name: documents[name] for name, bases in plan.bases.items() if not bases}:
        own = len(plan.templates) - len(given) + (len(inputs.ours) if given else 0)
        limit = None if options.max_templates is None else max(0, options.max_templates - own)
        pinned = [_in_order(content) for content in contents]
        order = sorted(range(len(pinned)), key=lambda number: repr(pinned[number]))
        search_options = SearchOptions(
            max_depth=options.max_depth,
            max_templates=limit,
            min_support=options.min_support,
            default_share=options.default_share,
            pinned=tuple(pinned[number] for number in order),
        )
        found = _renumbered(find({name: _in_order(document) for name, document in left.items()}, search_options), order)
        if options.order:
            for template, content in zip(found.templates, contents, strict=False):
                template.values = content  # the pinned ones, with their keys in order again
            found = strict(found, left)
        if not any(found.bases.values()):
            break
        _extend(plan, found, contents)
    return plan


def _in_order(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return data with its keys sorted: a plan must not depend on their order, which bases change."""
    return {key: _in_order(value) if isinstance(value, dict) else value for key, value in sorted(data.items())}


def _renumbered(plan: Plan, order: Sequence[int]) -> Plan:
    """Return a plan with pinned templates in another order than that of the search.

    A search has them sorted, since it may depend on their order, which is not the same in a later run: names give it.
    """

    def place(number: int) -> int:
        return order[number] if number < len(order) else number

    templates = [
        replace(template, id=place(template.id), parents=tuple(map(place, template.parents)))
        for template in plan.templates
    ]
    bases = {name: tuple(map(place, found)) for name, found in plan.bases.items()}
    return Plan(sorted(templates, key=lambda template: template.id), bases)


def _extend(plan: Plan, found: Plan, contents: list[dict[str, Any]]) -> None:
    """Add what a search has found to a plan that it was given as pinned templates."""
    contents[:] = [figures.resolve(found)[template.id] for template in found.templates]
    plan.templates += found.templates[len(plan.templates) :]
    for name, bases in found.bases.items():
        plan.bases[name] = bases


def _leave_alone(inputs: Inputs, unreadable: Mapping[str, str]) -> None:
    for group in (inputs.fresh, inputs.kept):
        for name, source in list(group.items()):
            if source.path in unreadable:
                inputs.alone.append(LeftAlone(source.path, unreadable[source.path]))
                del group[name]
                inputs.bases.pop(name, None)


def _unused(inputs: Inputs, output: Output, chain: Chain, options: Options) -> list[str]:
    """Return the older templates that nothing extends any more."""
    stack = [base for bases in output.bases.values() for base in bases]
    stack += [real for real, source in inputs.ours.items() if elsewhere(source, inputs, options)]
    used: set[str] = set()
    while stack:
        real = stack.pop()
        if real in used:
            continue
        used.add(real)
        if real not in output.templates or real in inputs.ours:
            stack += chain.bases(real)
    for real in output.templates:
        used.update(chain.bases(real) if real in inputs.ours else ())
    return sorted(real for real in inputs.ours if real not in used and real not in output.templates)


def _total(templates: Mapping[str, Source]) -> Size:
    return sum((size_of(source) for source in templates.values()), Size())


def _state(real: str, old: Mapping[str, Source], new: Mapping[str, Source]) -> str:
    if real not in old:
        return "new"
    return "changed" if real in new and new[real].text != old[real].text else "kept"


def _info(real: str, source: Source, options: Options, output: Output, state: str) -> TemplateInfo:
    folder = os.path.dirname(real)
    bases = tuple(options.name(os.path.join(folder, base)) for base in source.bases or ())
    files = tuple(sorted(name for name, found in output.bases.items() if real in found))
    return TemplateInfo(options.name(real), bases, files, figures.count(source.coded) + len(bases), state)


def _depth(chain: Chain, bases: Any) -> int:
    levels: dict[str, int] = {}

    def level(real: str) -> int:
        if real not in levels:
            levels[real] = 1 + max((level(base) for base in chain.bases(real)), default=0)
        return levels[real]

    return max((level(base) for found in bases for base in found), default=0)


def diff(name: str, change: Change) -> str:
    """Return a unified diff of one change."""
    old, new = ((data or b"").decode("utf-8-sig").splitlines(keepends=True) for data in (change.old, change.new))
    lines = difflib.unified_diff(old, new, f"a/{name}", f"b/{name}") if change.new is not None else ()
    if change.new is None:
        lines = difflib.unified_diff(old, [], f"a/{name}", "/dev/null")
    if change.old is None:
        lines = difflib.unified_diff([], new, "/dev/null", f"b/{name}")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)
