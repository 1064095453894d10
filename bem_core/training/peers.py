"""What a process says when it cannot go on because another one is gone: which one, and why."""

from __future__ import annotations

import atexit
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch.distributed as dist
from torch.distributed.distributed_c10d import Store

from bem_core.errors import TrainingError, TrainingInterrupted
from bem_core.training.distributed import Ranks, leave

# How long to wait for word of the others; the launcher sees a dead process within a tenth of a second.
_GRACE_S = 3.0
_POLL_S = 0.05
# What Gloo and NCCL say when the other side is gone or does not answer.
_SIGNS = ("gloo/", "Connection closed by peer", "Connection reset by peer", "Broken pipe", "NCCL", "Timed out waiting")


class PeerError(TrainingError):
    """Another process of the run is gone, or does not answer."""


@contextmanager
def named_failures(ranks: Ranks) -> Iterator[None]:
    """Turn what breaks here because another process is gone into an error that names that one.

    A process that fails by itself leaves word, so that the others can say why it is gone.

    Raises:
        PeerError: Another process is gone or does not answer.
    """
    try:
        yield
    except (TrainingInterrupted, PeerError):
        raise
    except Exception as error:
        if not ranks.spread:
            raise
        if not is_lost(error):
            _leave_word(ranks, f"{type(error).__name__}: {str(error).strip() or 'no message'}")
            raise
        _outlive_the_launcher()
        _leave_word(ranks, "")
        # Parting in good order would wait for those that are gone.
        atexit.unregister(leave)
        raise PeerError(f"rank {ranks.rank} cannot go on: {_reason(ranks, error)}") from error


def is_lost(error: BaseException) -> bool:
    """Tell whether an error means that another process is gone or does not answer."""
    if isinstance(error, dist.DistNetworkError | dist.DistBackendError | dist.DistStoreError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


def _outlive_the_launcher() -> None:
    """Ignore SIGTERM: the launcher sends it to all others as soon as one is gone, and this one has something to say."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _leave_word(ranks: Ranks, text: str) -> None:
    try:
        if ranks.store is not None:
            ranks.store.set(f"ended/{ranks.rank}", text)
    except RuntimeError:
        # The store went with the process or the machine that kept it.
        return


def _reason(ranks: Ranks, error: BaseException) -> str:
    plain = f"another process is gone or does not answer ({' '.join(str(error).split())[:300]})"
    if ranks.store is None:
        return plain
    until = time.monotonic() + _GRACE_S
    try:
        while not (found := _culprits(ranks, ranks.store, late=time.monotonic() >= until)):
            if time.monotonic() >= until:
                return plain
            time.sleep(_POLL_S)
    except RuntimeError:
        return f"rank 0, or the machine that started it, is gone ({plain})"
    return "; ".join(found)


def _culprits(ranks: Ranks, store: Store, late: bool) -> list[str]:
    """Return a text for each process that failed by itself or is dead; when late, for each that said nothing."""
    failed, dead, silent = [], [], []
    for rank in range(ranks.world):
        if store.check([f"ended/{rank}"]):
            if text := store.get(f"ended/{rank}").decode():
                failed.append(f"rank {rank} ended with {text}")
        elif rank != ranks.rank:
            pid, _, host = store.get(f"here/{rank}").decode().partition(" ")
            name = f"rank {rank} (process {pid} on {host})"
            if host == socket.gethostname() and not _is_alive(int(pid)):
                dead.append(f"{name} was killed or crashed")
            else:
                silent.append(f"{name} does not answer; hardware.process_timeout_s is {ranks.timeout_s:g}")
    return failed or dead or (silent if late else [])


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
