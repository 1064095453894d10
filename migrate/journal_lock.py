"""One writing run at a time: a lock on a file that ends with its process, however that ends."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bem_core.errors import BemError

_held: set[int] = set()


class Busy(BemError):
    """Another run is writing in the same project."""


def _forget_in_child() -> None:
    # A lock of flock() belongs to the open file, which a forked worker shares: a worker that outlives its killed parent
    # would keep it.
    for fd in _held:
        os.close(fd)
    _held.clear()


os.register_at_fork(after_in_child=_forget_in_child)


class Lock:
    """A held lock; made by `hold`, ended by `release` or the end of the process, not inherited by forked workers."""

    def __init__(self, fd: int) -> None:
        """Take over the descriptor of a locked file."""
        self._fd = fd
        _held.add(fd)

    def release(self) -> None:
        """End the lock; a second call does nothing, nor does one in a forked worker."""
        if self._fd in _held:
            _held.discard(self._fd)
            os.ftruncate(self._fd, 0)  # so that nobody reads a holder that has left
            os.close(self._fd)
        self._fd = -1


def hold(path: Path, command: Sequence[str]) -> Lock:
    """Take the lock at ``path`` without waiting.

    Raises:
        Busy: Another process, or another run in this one, has it; says its pid, command and start.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    for _ in range(100):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            holder = _holder(fd)
            if holder and _is_alive(holder["pid"]):
                os.close(fd)
                raise Busy(f"another run is at work here: {_describe(holder)}") from None
            # It has not said who it is yet, or only looks whether there is one; or it was killed just after a fork.
            time.sleep(0.005)
    else:
        os.close(fd)
        raise Busy("another run is at work here; it does not say which")
    os.ftruncate(fd, 0)
    os.pwrite(fd, json.dumps({"pid": os.getpid(), "command": list(command), "started": time.time()}).encode(), 0)
    return Lock(fd)


def is_held(path: Path) -> bool:
    """Tell whether a run has the lock at ``path`` now."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _holder(fd: int) -> dict[str, Any]:
    try:
        holder: dict[str, Any] = json.loads(os.pread(fd, 1 << 16, 0))
    except ValueError:
        return {}
    return holder


def _describe(holder: dict[str, Any]) -> str:
    started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder["started"]))
    return f"process {holder['pid']}, `{' '.join(holder['command'])}`, since {started}"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        pass
    return True
