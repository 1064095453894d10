"""One file from its path to its replacement: read, filter, plan, check, journal, replace. Runs in worker processes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from migrate.diffs import unified
from migrate.edits import Edit, apply
from migrate.imports.context import Context
from migrate.imports.ignores import wanted
from migrate.imports.kinds import rewriter
from migrate.imports.prefilter import Prefilter
from migrate.imports.tree import Tree
from migrate.journal_writer import Change, Writer
from migrate.moves import Moves
from migrate.report import Finding
from migrate.sources_text import DecodeError, decode, encode

Mode = Literal["write", "check", "diff"]
# Bytes. What is larger is data that happens to mention a name; reading it takes seconds and hundreds of megabytes.
LARGEST = {"yaml": 500_000, "ci": 500_000, "json": 1_000_000, "toml": 500_000, "cfg": 500_000}


@dataclass(slots=True)
class FileResult:
    """What became of one file.

    Attributes:
        path: The file, as the user named it.
        references: Number of rewritten references by form; empty when nothing changes.
        findings: What a person must look at.
        line: First changed line, from 1; 0 when nothing changes.
        diff: Unified diff, when it was asked for.
        error: Why the file could not be handled, or an empty string.
    """

    path: str
    references: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    line: int = 0
    diff: bytes = b""
    error: str = ""


@dataclass(frozen=True)
class Job:
    """All that a worker needs besides paths.

    Attributes:
        moves: The list of moves, its kinds settled.
        tree: Which modules exist.
        mode: Whether to write, or to show only.
        ignored: Codes of findings not to report.
        logger_names: Whether names of loggers follow the moves.
        prefilter: Whether files may be dropped by their bytes.
        writer: Journal and replacement; None unless files are written.
        base: Folder in which the patches of ``diff`` are to be applied.
    """

    moves: Moves
    tree: Tree
    mode: Mode = "write"
    ignored: frozenset[str] = frozenset()
    logger_names: bool = False
    prefilter: bool = True
    writer: Writer | None = None
    base: str = "."


def read(path: str) -> bytes:
    """Return the bytes of a file without the cost of a buffered reader."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        size = os.fstat(handle).st_size
        data = os.read(handle, size + 1)
        while len(data) < size and (more := os.read(handle, size - len(data) + 1)):
            data += more
        return data
    finally:
        os.close(handle)


class Candidates:
    """Tells which files have to be looked at more closely."""

    def __init__(self, moves: Moves, tree: Tree) -> None:
        self.moves = moves
        self.tree = tree
        self.filter = Prefilter(moves)
        self._folders: dict[str, tuple[frozenset[bytes], bool]] = {}

    def has(self, path: str, kind: str, data: bytes) -> bool:
        """Return False only for a file in which nothing can have to change or be reported."""
        folder, name = os.path.split(path)
        known = self._folders.get(folder)
        if known is None:
            known = self._folders[folder] = self._folder(folder)
        words, moving = known
        stem = name.partition(".")[0].encode(errors="surrogateescape")
        if self.filter.may_mention(data, words | {stem}, kind == "py"):
            return True
        return moving and kind == "py" and self.filter.has_relative(data) and self._moves(path)

    def _moves(self, path: str) -> bool:
        """Whether a file is a module that moves, or that has moved on disk: its relative imports change with it."""
        modules = self.tree.modules(path)
        return any(self.moves.resolve(m) or next(self.moves.origins(m), None) for m in modules)

    def _folder(self, folder: str) -> tuple[frozenset[bytes], bool]:
        """Return the names on the way to a folder, and whether modules in it may move."""
        full = os.path.abspath(folder)
        words = frozenset(part.encode(errors="surrogateescape") for part in full.split(os.sep))
        packages = self.tree.modules(os.path.join(full, "__init__.py")) or ("",)
        moves = self.moves
        moving = any(not p or moves.resolve(p) or moves.leads_to(p) or moves.receives(p) for p in packages)
        return words, moving


def handle(job: Job, files: Sequence[tuple[str, str]]) -> list[FileResult]:
    """Handle a batch of files, given as path and kind: plan them all, then replace those that change."""
    results: list[FileResult] = []
    changes: list[Change] = []
    for path, kind in files:
        result, change = _one(job, path, kind)
        results.append(result)
        if change is not None:
            changes.append(change)
    if job.writer is not None and changes:
        by_path = {result.path: result for result in results}
        for outcome in job.writer.replace(changes):
            if outcome.error is not None:
                by_path[outcome.path].error = outcome.error
                by_path[outcome.path].references = {}
    return results


def _one(job: Job, path: str, kind: str) -> tuple[FileResult, Change | None]:
    result = FileResult(path)
    try:
        data = read(path)
    except OSError as error:
        result.error = f"cannot be read: {error.strerror or error}"
        return result, None
    if len(data) > LARGEST.get(kind, len(data)):
        size = f"{len(data) / 1e6:.1f} MB: too large for a file of settings, so it was not read"
        result.findings = wanted([Finding(path, 1, 1, "BM108", size, "exclude it, or split it")], "", job.ignored)
        return result, None
    try:
        decoded = decode(data, python=kind == "py")
        new, edits = _text(job, path, kind, decoded.text, result)
        changed = encode(new, decoded) if edits else data
    except DecodeError as error:
        hint = "save it as UTF-8, or declare its encoding"
        result.findings = [Finding(path, 1, 1, "BM108", f"cannot be decoded: {error}", hint)]
        return result, None
    except Exception as error:  # noqa: BLE001  -- the per-file boundary: the other files go on
        result.error = f"internal error: {type(error).__name__}: {error}"
        return result, None
    if changed == data:
        return result, None
    result.references = dict(Counter(edit.kind for edit in edits))
    result.line = decoded.text.count("\n", 0, min(edits).start) + 1
    if job.mode == "diff":
        result.diff = unified(os.path.relpath(path, job.base), data, changed)
    return result, Change(path, data, changed)


def _text(job: Job, path: str, kind: str, text: str, result: FileResult) -> tuple[str, list[Edit]]:
    """Plan one text; fills in the findings and returns the new text with the edits that made it."""
    modules = job.tree.modules(path) if kind == "py" else ()
    package = os.path.basename(path).partition(".")[0] == "__init__"
    ctx = Context(path, job.moves, job.tree, modules, package, job.logger_names)
    plan = rewriter(kind)(text, ctx)
    result.findings = sorted(set(wanted(plan.findings, text, job.ignored)))
    return (apply(text, plan.edits), plan.edits) if plan.edits else (text, [])


def summed(results: Iterable[FileResult]) -> Counter[str]:
    """Add up the references of all files by form."""
    total: Counter[str] = Counter()
    for result in results:
        total.update(result.references)
    return total


def rewrite_in_memory(job: Job, path: str, kind: str, text: str) -> tuple[str, FileResult]:
    """Plan a text that stands in no file, and return the new text with what was found."""
    result = FileResult(path)
    new, edits = _text(job, path, kind, text, result)
    result.references = dict(Counter(edit.kind for edit in edits))
    return new, result
