"""Files replaced whole: each name holds the old bytes or the new ones, whenever the process dies.

New bytes go to a temporary file in the same folder, which is then renamed over the old one. It is not flushed to disk
first: that costs 4-8 ms a file (ext4 on a virtual disk, 20 kB files), and done for groups of 64 still 0.2 ms while the
machine is idle but 9 ms while it is busy. ext4 and btrfs write such a file out before the rename by themselves.
Elsewhere a loss of power may leave it empty or full of zeros: the original is on disk by then
(`migrate.journal_writer`), and `undo` restores it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Swap:
    """One file to bring from one state to another.

    Attributes:
        path: Real path.
        temp: Path of the temporary file, in the same folder.
        data: New content; None removes the file.
        mode: Permission bits to give it; None leaves them to the umask.
        owner: User and group id to give it where the process may; None for the process's own.
        folders: Folders to create first, outermost first.
        check: Looks at the file just before it is touched and returns why it must not be, or "".
    """

    path: str
    temp: str
    data: bytes | None
    mode: int | None
    owner: tuple[int, int] | None
    folders: Sequence[str]
    check: Callable[[], str]


def temp_name(name: str) -> str:
    """Return a new name for a temporary file beside ``name``, short enough for every file system."""
    return f".{name[:50]}.bem-migrate-{os.urandom(4).hex()}.tmp"


def is_temp(name: str) -> bool:
    """Tell whether ``name`` is one that `temp_name` makes."""
    return name.startswith(".") and ".bem-migrate-" in name and name.endswith(".tmp")


def remove_temp(path: str) -> None:
    """Remove a temporary file that a killed process left, if it is there."""
    if is_temp(os.path.basename(path)):
        with suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(path)


def content(path: str) -> bytes | None:
    """Return the bytes of a regular file, or None where there is nothing.

    Raises:
        OSError: It is there and cannot be read, or is something else than a regular file.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # a pipe would block, a link would mislead
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "a symbolic link") from error
        raise
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        with open(fd, "rb", buffering=0, closefd=False) as file:
            return file.readall()
    finally:
        os.close(fd)


def reason(error: OSError | ValueError) -> str:
    """Return an error of the operating system in a few words."""
    text = (error.strerror if isinstance(error, OSError) else "") or str(error)
    return "no possible path" if "embedded null" in text else text  # each version of Python words it differently


def swap(task: Swap) -> str:
    """Bring a file to its new state; return what went wrong, or "" where nothing did."""
    try:
        for folder in task.folders:
            with suppress(FileExistsError):
                os.mkdir(folder)
        if task.data is not None:
            return _replace(task, task.data)
        problem = task.check()
        if not problem:
            os.unlink(task.path)
        return problem
    except (OSError, ValueError) as error:
        return reason(error)


def _replace(task: Swap, data: bytes) -> str:
    fd = os.open(task.temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if task.mode is None else 0o600)
    try:
        try:
            _fill(fd, task, data)
        finally:
            os.close(fd)
        problem = task.check()
        if not problem:
            os.replace(task.temp, task.path)
        return problem
    finally:
        remove_temp(task.temp)


def _fill(fd: int, task: Swap, data: bytes) -> None:
    """Write the new content, then owner and mode: a change of owner clears the set-user-id bits."""
    write_all(fd, data)
    if task.owner:
        uid, gid = task.owner
        try:
            os.fchown(fd, uid, gid)
        except OSError:  # only root gives files away, but a member of the group may keep the group
            with suppress(OSError):
                os.fchown(fd, -1, gid)
    if task.mode is not None:
        os.fchmod(fd, task.mode)


def write_all(fd: int, data: bytes) -> None:
    """Write all of ``data``; one call of the system may write less."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def write_file(path: str, data: bytes) -> None:
    """Put a small file of the journal in place, whole or not at all."""
    folder, name = os.path.split(path)
    problem = swap(Swap(path, os.path.join(folder, temp_name(name)), data, None, None, (), str))
    if problem:
        raise OSError(errno.EIO, problem)


def under(path: str, root: str) -> bool:
    """Tell whether a real path is ``root`` or lies in it."""
    return path == root or path.startswith(root.rstrip(os.sep) + os.sep)


def missing_folders(folder: str) -> list[str]:
    """Return the folders to create for ``folder`` to be there, outermost first."""
    missing: list[str] = []
    while not os.path.lexists(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    return missing[::-1]


def remove_folders(folders: Sequence[str]) -> None:
    """Remove those of the folders, outermost first, that are empty."""
    for folder in reversed(folders):
        with suppress(OSError):
            os.rmdir(folder)


def flush_folder(path: str) -> None:
    """Make the names in a folder durable."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
