"""A whole run of ``bem-migrate imports``: from paths and options to a report. Prints nothing."""

from __future__ import annotations

import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bem_core.errors import BemError
from migrate import sources
from migrate.imports import pool
from migrate.imports.kinds import kind_of
from migrate.imports.roots import find_roots
from migrate.imports.tree import Tree
from migrate.imports.worker import Candidates, FileResult, Job, Mode, read, rewrite_in_memory, summed
from migrate.journal import Journal
from migrate.moves import Moves
from migrate.report import Finding

_MODULE = re.compile(rb"\b(?:from|import)[ \t]+([A-Za-z_][\w.]*)", re.ASCII)


@dataclass(frozen=True)
class Options:
    """What the command line and the settings of the repository ask for.

    Attributes:
        paths: Files and folders.
        root: Root of the project.
        kinds: Kinds of file to look at.
        mode: Whether to write, or to show only.
        jobs: Number of processes; 0 for one a core.
        source_roots: Import roots; empty to find them.
        include: Globs; empty for all files.
        exclude: Globs.
        ignore: Codes of findings not to report.
        logger_names: Whether names of loggers follow the moves.
        prefilter: Whether files may be dropped by their bytes; off only to check the filter itself.
    """

    paths: tuple[str, ...]
    root: Path
    kinds: tuple[str, ...]
    mode: Mode = "write"
    jobs: int = 0
    source_roots: tuple[Path, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    ignore: frozenset[str] = frozenset()
    logger_names: bool = False
    prefilter: bool = True


@dataclass
class Report:
    """What a run did.

    Attributes:
        mode: Whether files were written.
        mapping: The list of moves that was used.
        scanned: Number of files looked at.
        candidates: Number of those that may mention an old name.
        results: One for each candidate, in order of the paths.
        skipped: Files and folders left out: path and reason.
        errors: Files that could not be handled: path and reason.
        run: Identifier for ``bem-migrate undo``; empty when nothing was written.
        root: The project, when `undo` doesn't find it from the working directory by itself.
        seconds: Wall-clock time.
    """

    mode: Mode
    mapping: str
    scanned: int = 0
    candidates: int = 0
    results: list[FileResult] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    errors: list[tuple[str, str]] = field(default_factory=list)
    run: str = ""
    root: str = ""
    seconds: float = 0.0

    @property
    def changed(self) -> list[FileResult]:
        """Results of the files that changed, or would."""
        return [result for result in self.results if result.references]

    @property
    def findings(self) -> list[Finding]:
        """All findings, by path and line."""
        return sorted(finding for result in self.results for finding in result.findings)

    @property
    def references(self) -> Counter[str]:
        """Rewritten references by form."""
        return summed(self.results)

    @property
    def exit_code(self) -> int:
        """0 when nothing is left to do, 1 when changes or findings remain, 2 when a file could not be handled."""
        if self.errors:
            return 2
        left = bool(self.changed) and self.mode != "write"
        return int(left or bool(self.findings))


Progress = Callable[[int, int], None]


def index_of(options: Options, files: Sequence[sources.SourceFile]) -> Tree:
    """Return the modules under the import roots that the options or the files tell."""
    folders = sorted({os.path.dirname(os.path.abspath(file.path)) for file in files if file.kind == "py"})
    return Tree(find_roots(options.root, [Path(path) for path in options.paths], options.source_roots, folders))


def is_module(tree: Tree, imported: Container[str] = ()) -> Callable[[str], bool | None]:
    """Return the question whether a dotted name is a module, as the tree and the imports answer it.

    Args:
        tree: Modules that exist.
        imported: Names that import statements use as modules.
    """

    def ask(dotted: str) -> bool | None:
        module, _, name = dotted.rpartition(".")
        if tree.find(dotted) is not None:
            return True
        if module and tree.has(module, name):
            return False
        return True if dotted in imported else None

    return ask


def imported_modules(files: Iterable[sources.SourceFile]) -> set[str]:
    """Return the absolute names behind ``import`` and ``from``, and their parents; comments and strings count, too."""
    names: set[str] = set()
    for file in files:
        if file.kind == "py":
            names.update(found[1].decode() for found in _MODULE.finditer(read(file.path)))
    parents = (name.split(".")[:length] for name in names for length in range(1, name.count(".") + 1))
    return names | {".".join(parts) for parts in parents}


def run(options: Options, moves: Moves, progress: Progress = lambda done, total: None) -> Report:
    """Rewrite, or plan to rewrite, every reference under the paths.

    Raises:
        BemError: The paths, the options or another run stand in the way; single files never do.
    """
    start = time.perf_counter()
    listing = sources.find(options.paths, options.kinds, options.include, options.exclude, options.root, kind_of)
    files = [file for file in listing.files if not _is_list_of_moves(file.path, moves)]
    report = Report(options.mode, moves.source, len(files), skipped=listing.skipped, errors=listing.errors)
    tree = index_of(options, files)
    moves = moves.under(tree.prefixes)
    candidates = _candidates(options, files, Candidates(moves.with_kinds(is_module(tree)), tree), report)
    moves = _settled(moves, tree, candidates)
    report.candidates = len(candidates)
    base = os.getcwd() if all(_inside(path, os.getcwd()) for path in options.paths) else str(options.root)
    job = Job(moves, tree, options.mode, options.ignore, options.logger_names, options.prefilter, base=base)
    if candidates:
        _handle(options, job, candidates, report, progress)
    report.results.sort(key=lambda result: result.path)
    report.errors += [(result.path, result.error) for result in report.results if result.error]
    report.seconds = time.perf_counter() - start
    return report


def _settled(moves: Moves, tree: Tree, files: Iterable[sources.SourceFile]) -> Moves:
    """Find out which old names are modules; the imports are only read where the tree leaves a doubt."""
    ask = is_module(tree)
    autos = [move for move in moves.entries.values() if move.kind == "auto"]
    doubtful = [move.old for move in autos if ask(move.old) is None and ask(move.new) is None]
    if not doubtful:
        return moves.with_kinds(ask)
    imported = imported_modules(files)
    names = {old for old in doubtful if old not in imported and old.rpartition(".")[0] in imported}
    return moves.with_kinds(is_module(tree, imported), names)


def _inside(path: str, folder: str) -> bool:
    return os.path.commonpath([os.path.abspath(path), folder]) == folder


def _is_list_of_moves(path: str, moves: Moves) -> bool:
    """Whether a file is the list itself, whose old names must stay."""
    same_name = os.path.basename(path) == os.path.basename(moves.source)
    return same_name and os.path.realpath(path) == os.path.realpath(moves.source)


def _candidates(
    options: Options, files: Sequence[sources.SourceFile], candidates: Candidates, report: Report
) -> list[sources.SourceFile]:
    if not options.prefilter:
        return list(files)
    chosen: list[sources.SourceFile] = []
    for file in files:
        try:
            if candidates.has(file.path, file.kind, read(file.path)):
                chosen.append(file)
        except OSError as error:
            report.errors.append((file.path, f"cannot be read: {error.strerror or error}"))
    return chosen


def _handle(
    options: Options, job: Job, candidates: Sequence[sources.SourceFile], report: Report, progress: Progress
) -> None:
    seen = 0

    def done(count: int) -> None:
        nonlocal seen
        seen += count
        progress(seen, len(candidates))

    jobs = options.jobs or len(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else [0] * 2)
    if options.mode != "write":
        report.results += pool.run(job, candidates, jobs, done)
        return
    journal = Journal(options.root)
    with journal.start(["bem-migrate", *sys.argv[1:]]) as active:
        writing = Job(**{**vars(job), "writer": active.writer(options.paths)})
        try:
            report.results += pool.run(writing, candidates, jobs, done)
        except KeyboardInterrupt:
            undo = f"`bem-migrate undo {active.id}` puts back what was changed"
            raise KeyboardInterrupt(undo) from None
        report.run = active.id if report.changed else ""
        report.root = "" if _inside(".", str(options.root)) else str(options.root)
        active.finish({"changed": len(report.changed), "findings": len(report.findings)})


def rewrite_text(text: str, path: str, options: Options, moves: Moves) -> tuple[str, FileResult]:
    """Rewrite a text that is in no file, such as standard input, as if it were the file ``path``.

    Raises:
        BemError: The name of the file tells no kind.
    """
    kind = kind_of(path)
    if kind is None:
        raise BemError(f"{path}: no kind of file is known by that name; expected one such as stdin.py or stdin.md")
    tree = index_of(options, [sources.SourceFile(path, kind, 0)])
    moves = moves.under(tree.prefixes)
    job = Job(moves.with_kinds(is_module(tree)), tree, options.mode, options.ignore, options.logger_names)
    return rewrite_in_memory(job, path, kind, text)
