"""Bring the files of a run back to their originals, all or none unless told otherwise."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from migrate.journal_files import (
    Swap,
    content,
    missing_folders,
    reason,
    remove_folders,
    remove_temp,
    swap,
    under,
)
from migrate.journal_pack import Entry, Record, by_path, digest, read_packs
from migrate.journal_writer import Outcome


@dataclass(frozen=True, slots=True)
class Restoration:
    """What there is to do for one file.

    Attributes:
        path: As the records have it.
        real: Its absolute path.
        entry: The oldest record of the file in the run: it has the original.
        known: Digests that the run can have left there; None stands for no file.
        problem: Why it must not be restored, or "".
        made: Folders that the run created for it.
        done: It has the content and the mode of the original already.
    """

    path: str
    real: str
    entry: Entry
    known: frozenset[str | None]
    problem: str
    made: tuple[str, ...]
    done: bool


def plan(root: Path, run_dir: Path) -> list[Restoration]:
    """Compare every file of a run with what the run left; nothing is written."""
    entries = read_packs(run_dir)
    made = {folder for entry in entries for folder in entry.record.made}
    return [_compare(root, path, of_path, made) for path, of_path in sorted(by_path(entries).items())]


def remove_leftovers(root: Path, run_dir: Path) -> int:
    """Remove the temporary files of a killed run or undo; return the number of its records."""
    entries = read_packs(run_dir)
    for entry in entries:
        remove_temp(_temp(os.path.join(root, entry.record.path), entry))
    for name in os.listdir(run_dir):
        remove_temp(os.path.join(run_dir, name))
    return len(entries)


def restore(items: Sequence[Restoration]) -> list[Outcome]:
    """Write the originals of files that have no problem, each atomically; one outcome for each."""
    created = [item for item in items if item.entry.record.old is None]
    others = [item for item in items if item.entry.record.old is not None]
    outcomes: list[Outcome] = []
    for some in (created, others):  # a folder that the run made may be where a file was
        outcomes += [Outcome(item.path, _restore(item) or None) for item in some]
        remove_folders(sorted({folder for item in some for folder in item.made}))
    if not all(item.done for item in items):
        os.sync()  # once for all; before the run is marked as undone
    return sorted(outcomes)


def _restore(item: Restoration) -> str:
    try:
        return "" if item.done else swap(_swap(item))
    except OSError as error:
        return reason(error)


def _swap(item: Restoration) -> Swap:
    record = item.entry.record
    folder = os.path.dirname(item.real)
    return Swap(
        path=item.real,
        temp=_temp(item.real, item.entry),
        data=item.entry.original(),
        mode=record.mode,
        owner=(record.uid, record.gid),
        folders=tuple(missing_folders(folder)) if record.old is not None else (),
        check=lambda: _difference(content(item.real), item.known),
    )


def _compare(root: Path, path: str, entries: Sequence[Entry], made_by_run: set[str]) -> Restoration:
    real = os.path.join(root, path)
    record = entries[0].record
    known = frozenset(value for e in entries for value in (e.record.old, e.record.new))
    made = tuple(os.path.join(root, folder) for e in entries for folder in e.record.made)
    done = False
    try:
        now = None if path in made_by_run and os.path.isdir(real) else content(real)
        problem = _difference(now, known)
        if os.path.realpath(real) != real or not under(real, str(root)):
            problem = "leads elsewhere by a symbolic link now"
        done = not problem and _is_original(real, now, record)
        if not problem and not done:
            entries[0].original()
    except OSError as error:
        problem = reason(error)
    return Restoration(path, real, entries[0], known, problem, made, done)


def _difference(now: bytes | None, known: frozenset[str | None]) -> str:
    """Say how a file differs from all that the run can have left there."""
    if now is None:
        return "" if None in known else "deleted since the run"
    blank = not now.strip(b"\0")  # as a loss of power leaves a file; there is nothing in it to keep
    return "" if blank or digest(now) in known else "changed since the run"


def _is_original(real: str, now: bytes | None, record: Record) -> bool:
    if now is None or record.old is None:
        return now is None and record.old is None
    return digest(now) == record.old and stat.S_IMODE(os.lstat(real).st_mode) == record.mode


def _temp(real: str, entry: Entry) -> str:
    return os.path.join(os.path.dirname(real), os.path.basename(entry.record.temp))
