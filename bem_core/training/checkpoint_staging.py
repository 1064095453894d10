"""Folders that appear whole or not at all: written under another name beside their place, flushed, renamed.

A folder in work is locked by its process, and the lock goes with the process; so what has no lock is left from a crash.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from bem_core.errors import CheckpointError

# `new` is being written, `old` makes place for its successor, `gone` is being deleted.
_WORK_NAME = re.compile(r"\.(?P<name>.+)\.(?P<kind>new|old|gone)-[0-9a-f]{16}")
MANIFEST = "manifest.json"


@contextlib.contextmanager
def staged(path: Path) -> Iterator[Path]:
    """Yield a new folder that takes the place of ``path`` when the block ends without an error.

    First removes what crashed processes left beside it. A checkpoint that is at ``path`` stays whole until then.

    Raises:
        CheckpointError: At ``path`` is something that is no checkpoint.
        OSError: The folder cannot be made or moved.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent)
    _check_replaceable(path)
    staging, lock = _make(path)
    try:
        yield staging
        sync_folder(staging)
        _replace(staging, path)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    finally:
        _unlock(lock)


def _check_replaceable(path: Path) -> None:
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise CheckpointError(f"{path}: is in the way: not a folder")
    if path.exists() and not (path / MANIFEST).exists() and any(path.iterdir()):
        raise CheckpointError(f"{path}: is in the way: a folder with files that is no checkpoint")


def _make(path: Path) -> tuple[Path, int | None]:
    for _attempt in range(3):
        staging = _work_path(path, "new")
        staging.mkdir()
        lock = _lock(staging)
        # Another process may take it for a leftover before it is locked.
        if lock is not None and staging.exists():
            return staging, lock
        _unlock(lock)
        with contextlib.suppress(FileNotFoundError):
            staging.rmdir()
    # A file system without locks: nobody can lock it there, so nobody removes it.
    staging = _work_path(path, "new")
    staging.mkdir()
    return staging, None


def _work_path(path: Path, kind: str) -> Path:
    return path.with_name(f".{path.name}.{kind}-{secrets.token_hex(8)}")


def _replace(staging: Path, path: Path) -> None:
    if not path.exists():
        staging.rename(path)
        sync_folder(path.parent)
        return
    old, lock = _work_path(path, "old"), _lock(path)
    try:
        path.rename(old)
        try:
            staging.rename(path)
        except BaseException:
            old.rename(path)
            raise
        sync_folder(path.parent)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        _unlock(lock)


def remove(path: Path) -> None:
    """Delete a folder so that a crash leaves it whole, or nothing that looks like it."""
    gone = _work_path(path, "gone")
    with contextlib.suppress(FileNotFoundError):
        path.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def remove_leftovers(root: Path) -> None:
    """Delete the work folders of dead processes in ``root``, after `bring_back`."""
    bring_back(root)
    for path, _ in _abandoned(root, "new", "old", "gone"):
        shutil.rmtree(path, ignore_errors=True)


def bring_back(root: Path) -> None:
    """Give the folders their names back whose successors never came, because their process died in between."""
    for path, place in _abandoned(root, "old"):
        if not place.exists():
            path.rename(place)


def _abandoned(root: Path, *kinds: str) -> Iterator[tuple[Path, Path]]:
    """Yield the work folders of dead processes, locked, and the places that they were for."""
    for path in sorted(root.iterdir()):
        match = _WORK_NAME.fullmatch(path.name)
        if match and match["kind"] in kinds and (lock := _lock(path)) is not None:
            try:
                yield path, root / match["name"]
            finally:
                _unlock(lock)


def _lock(folder: Path) -> int | None:
    """Return a descriptor that holds the lock of a folder, or None where another has it or there are no locks."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _unlock(descriptor: int | None) -> None:
    if descriptor is not None:
        # Closing is not enough where a child process was forked meanwhile and has it too.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(path: Path, data: bytes) -> None:
    """Write a file and wait until it is on the disk."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
