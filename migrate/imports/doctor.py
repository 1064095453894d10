"""Imports that resolve to nothing, per import root, today and after the moves. Nothing is executed.

An import root is what would stand on ``sys.path``. Each import of each file is looked up under each root by itself, so
that imports which only one root can serve show; the report then joins the roots again.
"""

from __future__ import annotations

import gc
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path

from migrate.imports.resolution import Case, Reason, World
from migrate.imports.statements import Imported
from migrate.imports.tree import find_roots
from migrate.moves import Moves, Target


@dataclass(frozen=True, slots=True)
class Unresolved:
    """An import that no root can serve.

    Attributes:
        path: The file, as it was given.
        line: Line of the statement, from 1.
        spelling: The statement on one line, without aliases.
        reason: Key of `resolution.REASONS`; of several roots' reasons the one that comes nearest to resolving.
        missing: What does not exist: a module, or ``module:name, name``.
        guarded: A failure is caught by an ``except`` around it.
        becomes: What the moves make of the imported names; empty when they do not touch it.
        after: Reason after the moves; empty when it resolves then.
        note: Advice of a move that must be done by hand.
    """

    path: str
    line: int
    spelling: str
    reason: Reason
    missing: str
    guarded: bool
    becomes: str = ""
    after: Reason = ""
    note: str = ""


@dataclass(slots=True)
class RootReport:
    """Counts for one import root.

    Attributes:
        root: The folder, relative to the project.
        imports: Imports examined: all absolute ones, and the relative ones of files below this root.
        unresolved: Imports that this root, the dependencies and the standard library cannot serve.
        missing_package: Of these, imports of a package that exists nowhere.
        elsewhere: Of these, imports that another root can serve.
        after: Imports that this root cannot serve when the moves are done. More than today where names move to another
            root: that root is the one to keep.
    """

    root: str
    imports: int = 0
    unresolved: int = 0
    missing_package: int = 0
    elsewhere: int = 0
    after: int = 0


@dataclass(frozen=True, slots=True)
class Exclusive:
    """Two roots that cannot serve all imports together.

    Both may stand on ``sys.path``, but a module has one name at a time: loaded under one root's name, its relative
    imports fail that resolve under the other root's name only.

    Attributes:
        first: A root, relative to the project.
        second: Another one.
        only_first: Imports that resolve under the first root alone.
        only_second: Imports that resolve under the second root alone.
        example_first: One of them, as ``path:line: statement``.
        example_second: One of the others.
        after: Whether both kinds are left when the moves are done.
    """

    first: str
    second: str
    only_first: int
    only_second: int
    example_first: str
    example_second: str
    after: bool


@dataclass(slots=True)
class DoctorReport:
    """What `run_doctor` found.

    Attributes:
        files: Number of files read.
        imports: Imports in them; ``import a, b`` counts as two.
        roots: Counts for each import root.
        exclusive: Pairs of roots that cannot both be right.
        unresolved: Imports that no root can serve, in the order of the files.
        optional: Guarded imports of packages that are in no tree, not declared and not installed; not counted above.
        unparsed: Files that this Python cannot parse or read.
    """

    files: int = 0
    imports: int = 0
    roots: list[RootReport] = field(default_factory=list)
    exclusive: list[Exclusive] = field(default_factory=list)
    unresolved: list[Unresolved] = field(default_factory=list)
    optional: list[Unresolved] = field(default_factory=list)
    unparsed: list[str] = field(default_factory=list)

    @property
    def guarded(self) -> int:
        """Unresolved imports whose failure is caught."""
        return sum(item.guarded for item in self.unresolved)

    @property
    def missing_package(self) -> int:
        """Unresolved imports of packages that exist nowhere."""
        return sum(item.reason == "package" for item in self.unresolved)

    @property
    def after(self) -> int:
        """Imports that stay unresolved when the moves are done."""
        return sum(bool(item.after) for item in self.unresolved)

    @property
    def exit_code(self) -> int:
        """0 when every import resolves and no two roots exclude each other, else 1."""
        return int(bool(self.unresolved or self.exclusive))

    def missing(self) -> list[tuple[str, int, Unresolved]]:
        """Return the modules and packages that are missing, each with its count and first import, most first."""
        counts = Counter(item.missing for item in self.unresolved if item.reason in {"package", "module"})
        first = {item.missing: item for item in reversed(self.unresolved)}
        return [
            (name, count, first[name]) for name, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        ]


def run_doctor(
    paths: Iterable[str | Path], source_roots: Sequence[Path], moves: Moves, project_root: Path
) -> DoctorReport:
    """Resolve every import of ``paths`` under every root, as the files are and as they will be after the moves.

    Args:
        paths: Python files.
        source_roots: Import roots; found as `find_roots` does when empty.
        moves: The list of moves.
        project_root: Where dependencies are declared; roots are named relative to it.
    """
    files = [str(path) for path in paths]
    if not source_roots:
        source_roots = find_roots(project_root, [], [], {os.path.dirname(file) or "." for file in files})
    world = World(source_roots, moves, project_root)
    report = DoctorReport(files=len(files))
    report.roots = [RootReport(os.path.relpath(root, project_root)) for root in world.whole.roots]
    split = _Split([tally.root for tally in report.roots])
    for file in files:
        with _without_gc():
            found = world.scan(file)
        if found is None:
            report.unparsed.append(file)
        for item in found or ():
            report.imports += 1
            _examine(Case(world, file, item), report, split)
    report.exclusive = split.pairs()
    return report


@contextmanager
def _without_gc() -> Iterator[None]:
    """Pause the garbage collector: syntax trees have no cycles, and visiting them costs a fifth of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def to_json(report: DoctorReport) -> str:
    """Return the whole report as JSON."""
    totals = {
        "exit_code": report.exit_code,
        "unresolved": len(report.unresolved),
        "guarded": report.guarded,
        "missing_package": report.missing_package,
        "after": report.after,
        "missing": [{"module": name, "imports": count} for name, count, _ in report.missing()],
    }
    return json.dumps({"totals": totals, **asdict(report)}, indent=2, ensure_ascii=False)


def _examine(case: Case, report: DoctorReport, split: _Split) -> None:
    """Count one import, and keep it when no root can serve it."""
    reason = case.reason
    after = [case.after(index) for index in range(len(report.roots))]
    moved = case.moved() if reason else []
    optional = reason == "package" and case.item.guarded and not moved
    for tally, today, then in zip(report.roots, case.reasons, after, strict=True):
        tally.imports += today is not None
        if today and not optional:
            tally.unresolved += 1
            tally.missing_package += today == "package"
            tally.elsewhere += not reason
        tally.after += bool(then) and not optional
    split.add(case, after)
    if reason:
        found = _unresolved(case, reason, moved, "" if "" in after else reason)
        (report.optional if optional else report.unresolved).append(found)


def _unresolved(case: Case, reason: Reason, moved: Sequence[Target], after: Reason) -> Unresolved:
    item = case.item
    notes = dict.fromkeys(target.move.removed or target.move.shim_only for target in moved if target.blocked)
    return Unresolved(
        path=case.file,
        line=item.line,
        spelling=item.spelling,
        reason=reason,
        missing=case.missing,
        guarded=item.guarded,
        becomes=_becomes(item, [target for target in moved if not target.blocked]),
        after=after,
        note="; ".join(notes),
    )


def _becomes(item: Imported, targets: Sequence[Target]) -> str:
    """Return the statement with the new module where all names go there, else the new names."""
    ends = {(target.module, target.attr) if target.attr else _split(target.dotted) for target in targets}
    modules = {module for module, _ in ends}
    if len(modules) == 1 and {name for _, name in ends} == set(item.names):
        return f"from {modules.pop()} import {', '.join(item.names)}"
    return ", ".join(target.dotted for target in targets)


def _split(dotted: str) -> tuple[str, str]:
    module, _, name = dotted.rpartition(".")
    return module, name


@dataclass(frozen=True, slots=True)
class _Only:
    """An import that one root alone can serve."""

    case: Case
    reasons: Sequence[Reason | None]
    relative: bool


@dataclass(slots=True)
class _Split:
    """Imports that one root alone can serve, by the number of that root."""

    roots: Sequence[str]
    today: dict[int, list[_Only]] = field(default_factory=dict)
    after: dict[int, list[_Only]] = field(default_factory=dict)

    def add(self, case: Case, after: Sequence[Reason | None]) -> None:
        relative = case.item.level > 0
        for reasons, store, is_relative in (
            (case.reasons, self.today, relative),
            (after, self.after, relative and not case.respelled),
        ):
            if reasons.count("") == 1 and len(reasons) > 1:
                store.setdefault(reasons.index(""), []).append(_Only(case, reasons, is_relative))

    def pairs(self) -> list[Exclusive]:
        """Return the pairs of roots of which each serves imports that fail under the other."""
        return [pair for first, second in combinations(range(len(self.roots)), 2) for pair in self._pair(first, second)]

    def _pair(self, first: int, second: int) -> Iterator[Exclusive]:
        one, two = _failing(self.today, first, second), _failing(self.today, second, first)
        if _exclude(one, two):
            yield Exclusive(
                first=self.roots[first],
                second=self.roots[second],
                only_first=len(one),
                only_second=len(two),
                example_first=_example(one),
                example_second=_example(two),
                after=_exclude(_failing(self.after, first, second), _failing(self.after, second, first)),
            )


def _failing(only: dict[int, list[_Only]], root: int, other: int) -> list[_Only]:
    """Return what one root alone serves, without relative imports of files that lie outside the other."""
    return [item for item in only.get(root, ()) if item.reasons[other]]


def _exclude(one: Sequence[_Only], two: Sequence[_Only]) -> bool:
    """Tell whether two roots exclude each other; absolute imports alone don't: both roots can be on the path."""
    return bool(one and two) and any(item.relative for item in (*one, *two))


def _example(items: Sequence[_Only]) -> str:
    """Show one import, a relative one if there is one."""
    case = next((item for item in items if item.relative), items[0]).case
    return f"{case.file}:{case.item.line}: {case.item.spelling}"
