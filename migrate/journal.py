"""The journal of a project: what each writing run did, and the way back.

``.bem-migrate/`` in the project root has one folder a run::

    .gitignore  lock                 one writing run or undo at a time
    runs/<id>/run.json               command and start
              *.pack                 originals, one pack a worker (`migrate.journal_pack`)
              open                   there while the run has not ended, also after it was killed
              done.json              its summary
              undoing, undone.json   the same for its undoing
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from calendar import timegm
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from bem_core.errors import BemError, nearest
from migrate.journal_files import flush_folder, reason, write_file
from migrate.journal_lock import Busy, Lock, hold, is_held
from migrate.journal_pack import by_path, read_packs
from migrate.journal_undo import plan, remove_leftovers, restore
from migrate.journal_writer import OPEN, Change, Outcome, Writer

__all__ = ["FOLDER", "Busy", "Change", "Journal", "JournalError", "Outcome", "Run", "RunInfo", "UndoReport", "Writer"]

FOLDER = ".bem-migrate"
_START = "run.json"
_UNDOING = "undoing"


class JournalError(BemError):
    """The journal has not what was asked of it, or cannot be written."""


@dataclass(frozen=True, slots=True)
class RunInfo:
    """A run as the journal has it.

    Attributes:
        id: Its id; ids sort by time.
        command: The command line.
        started: When it started, seconds since the epoch.
        state: ``interrupted`` when it was killed or left on an error, and is not undone.
        files: Files it has originals of, in order, relative to the project root.
        summary: What it gave to `Run.finish`.
        undone: When it was undone, seconds since the epoch; 0 when it was not.
        kept: Files that its undoing left alone, and why.
        lost: Files that it changed and whose originals cannot be read any more.
    """

    id: str
    command: tuple[str, ...]
    started: float
    state: Literal["running", "finished", "interrupted", "undone"]
    files: tuple[str, ...]
    summary: Mapping[str, Any]
    undone: float
    kept: tuple[Outcome, ...]
    lost: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UndoReport:
    """What an undo did.

    Attributes:
        run: The run; None when there was none left to undo.
        state: ``undone``: all is back but ``kept``; ``refused``: nothing was touched because of ``kept``;
            ``incomplete``: the files in ``failed`` could not be written, so it can be tried again;
            ``already``: it had been undone before; ``nothing``: no run was left.
        restored: Files with their original bytes and mode again.
        kept: Files that have changed since the run, and how.
        failed: Files that could not be restored, and why.
    """

    run: RunInfo | None
    state: Literal["undone", "refused", "incomplete", "already", "nothing"]
    restored: tuple[str, ...] = ()
    kept: tuple[Outcome, ...] = ()
    failed: tuple[Outcome, ...] = ()


class Run:
    """A run that writes; holds the lock of the project until `finish` or `close`.

    As a context manager it closes itself; left without `finish` it counts as interrupted and can be undone like others.
    """

    def __init__(self, folder: Path, lock: Lock) -> None:
        """Take over a prepared run folder and the held lock; `Journal.start` does."""
        self.id = folder.name
        self.folder = folder
        self._lock = lock

    def writer(self, allowed_roots: Sequence[str | Path]) -> Writer:
        """Return a writer for this process or a worker; nothing outside ``allowed_roots`` is written."""
        return Writer(self.folder, allowed_roots)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """End the run; one that changed nothing leaves no trace.

        Args:
            summary: What to remember of it, as JSON can hold it.
        """
        with _closing(self.folder):
            files = sorted(by_path(read_packs(self.folder)))
            if files:
                done = {"finished": time.time(), "files": files, "summary": dict(summary)}
                _write(self.folder / "done.json", done)
            else:
                _remove(self.folder)
        self.close()

    def close(self) -> None:
        """Let others run; after `finish` this does nothing."""
        self._lock.release()

    def __enter__(self) -> Run:
        """Return the run itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the run."""
        self.close()


class Journal:
    """The runs of one project."""

    def __init__(self, root: str | Path) -> None:
        """Look at the journal of the project at ``root``; nothing is written before `start`."""
        self.root = Path(os.path.realpath(root))
        self.folder = self.root / FOLDER
        self._runs = self.folder / "runs"

    def start(self, command: Sequence[str]) -> Run:
        """Begin a writing run; clears up after one that was killed.

        Args:
            command: The command line, for others to read.

        Raises:
            Busy: Another run or undo is at work; nobody waits.
            JournalError: The journal cannot be written.
        """
        try:
            lock = self._lock(command)
            try:
                self._sweep()
                return Run(self._new_run(command), lock)
            except BaseException:
                lock.release()
                raise
        except OSError as error:
            raise JournalError(f"cannot write the journal {self.folder}: {reason(error)}") from error

    def runs(self) -> list[RunInfo]:
        """Return the runs that changed something, newest first."""
        folders = sorted(self._folders(), reverse=True)
        busy = is_held(self.folder / "lock")
        infos = (_info(folder, busy) for folder in folders)
        return [info for info in infos if info.files]

    def undo(self, run_id: str | None = None, keep_changed: bool = False) -> UndoReport:
        """Restore every byte and mode that a run changed; done again, it changes nothing.

        All files are checked first. When one has changed since the run, nothing is touched. A file that has its
        original bytes already counts as restored. Works on a run that was killed, too.

        Args:
            run_id: The run, or enough of the start or end of its id; None for the newest that is not undone.
            keep_changed: Leave changed files as they are and restore the others; a later call with ``run_id`` looks at
                them again.

        Raises:
            Busy: A run or another undo is at work.
            JournalError: There is no such run or no journal here.
        """
        if not self._runs.is_dir():
            raise JournalError(f"no journal in {self.root}: no bem-migrate run has written there")
        try:
            lock = self._lock(["bem-migrate", "undo", *([run_id] if run_id else [])])
        except OSError as error:
            raise JournalError(f"cannot write the journal {self.folder}: {reason(error)}") from error
        try:
            self._sweep()
            info = self._choose(run_id)
            if info is None:
                return UndoReport(None, "nothing")
            if info.undone and not info.kept:
                return UndoReport(info, "already")
            return self._undo(info, keep_changed)
        finally:
            lock.release()

    def _undo(self, info: RunInfo, keep_changed: bool) -> UndoReport:
        folder = self._runs / info.id
        items = plan(self.root, folder)
        kept = tuple(Outcome(item.path, item.problem) for item in items if item.problem)
        if kept and not keep_changed:
            return UndoReport(info, "refused", kept=kept)
        (folder / _UNDOING).touch()
        outcomes = restore([item for item in items if not item.problem])
        restored = tuple(o.path for o in outcomes if o.error is None)
        lost = tuple(Outcome(path, "its original in the journal is damaged") for path in info.lost)
        failed = (*(o for o in outcomes if o.error is not None), *lost)
        if not failed:
            _write(folder / "undone.json", {"undone": time.time(), "kept": kept})
        (folder / _UNDOING).unlink()
        return UndoReport(info, "incomplete" if failed else "undone", restored, kept, failed)

    def _choose(self, run_id: str | None) -> RunInfo | None:
        runs = self.runs()
        if run_id is None:
            return next((info for info in runs if not info.undone), None)
        found = [i for i in runs if i.id == run_id] or [
            i for i in runs if i.id.startswith(run_id) or i.id.endswith(run_id)
        ]
        if len(found) == 1:
            return found[0]
        ids = [info.id for info in runs]
        if found:
            raise JournalError(f"{run_id!r} stands for {len(found)} runs: {', '.join(i.id for i in found)}")
        raise JournalError(
            f"no run {run_id!r} in {self.folder}{nearest(run_id, ids)}; `bem-migrate undo --list` shows all"
        )

    def _lock(self, command: Sequence[str]) -> Lock:
        if self.folder.is_symlink():
            raise JournalError(f"{self.folder} is a link: the journal is written inside the project only")
        self._runs.mkdir(parents=True, exist_ok=True)
        ignore = self.folder / ".gitignore"
        if not ignore.exists() or not ignore.stat().st_size:
            ignore.write_bytes(b"*\n")
        return hold(self.folder / "lock", command)

    def _new_run(self, command: Sequence[str]) -> Path:
        now = time.time()
        # The order of the names is that of the runs: two of one millisecond, or a clock set back, must not change it.
        newest = max((folder.name for folder in self._folders()), default="")
        count = max(int(now * 1000), _milliseconds(newest) + 1)
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(count // 1000))
        folder = self._runs / f"{stamp}-{count % 1000:03d}-{os.urandom(2).hex()}"
        folder.mkdir()
        (folder / OPEN).touch()
        _write(folder / _START, {"command": list(command), "started": now, "pid": os.getpid()})
        flush_folder(str(self._runs))
        return folder

    def _sweep(self) -> None:
        """Close runs that were killed, and remove what they left beside the files; the lock is held."""
        for folder in self._folders():
            if any((folder / mark).exists() for mark in (OPEN, _UNDOING)) or not (folder / _START).exists():
                with _closing(folder):
                    if not remove_leftovers(self.root, folder):
                        _remove(folder)
                    with suppress(FileNotFoundError):
                        (folder / _UNDOING).unlink()

    def _folders(self) -> Iterator[Path]:
        with suppress(FileNotFoundError), os.scandir(self._runs) as entries:
            yield from (Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))


def _milliseconds(name: str) -> int:
    """Return when the run with that folder began, in milliseconds since 1970; 0 for what is no name of a run."""
    try:
        return timegm(time.strptime(name[:15], "%Y%m%d-%H%M%S")) * 1000 + int(name[16:19])
    except ValueError:
        return 0


@contextmanager
def _closing(folder: Path) -> Iterator[None]:
    """Wait for the batches under way in a run, do the block while no new one can begin, and close the run."""
    try:
        fd = os.open(folder / OPEN, os.O_RDONLY)
    except FileNotFoundError:
        yield
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
        with suppress(FileNotFoundError):
            (folder / OPEN).unlink()
    finally:
        os.close(fd)


def _remove(folder: Path) -> None:
    """Remove a run folder, which has no folders in it; the mark goes first, for those who wait for its lock."""
    for path in sorted(folder.iterdir(), key=lambda path: path.name != OPEN):
        path.unlink()
    folder.rmdir()


def _info(folder: Path, busy: bool) -> RunInfo:
    """Return what is known of a run; a loss of power may have cost everything but its originals."""
    start = _read(folder / _START) or {"command": ["(unknown)"], "started": folder.stat().st_mtime}
    done, undone = _read(folder / "done.json"), _read(folder / "undone.json")
    unfinished: Literal["running", "interrupted"] = "running" if busy and (folder / OPEN).exists() else "interrupted"
    files = tuple(sorted(by_path(read_packs(folder))))
    return RunInfo(
        id=folder.name,
        command=tuple(start["command"]),
        started=start["started"],
        state="undone" if undone else "finished" if done else unfinished,
        files=files,
        summary=done["summary"] if done else {},
        undone=undone["undone"] if undone else 0.0,
        kept=tuple(Outcome(*pair) for pair in undone["kept"]) if undone else (),
        lost=tuple(sorted({*done.get("files", ())} - {*files})) if done else (),
    )


def _write(path: Path, value: Mapping[str, Any]) -> None:
    write_file(str(path), json.dumps(value, indent=1).encode("ascii"))


def _read(path: Path) -> dict[str, Any] | None:
    try:
        value: dict[str, Any] = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return value
