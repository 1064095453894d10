"""When a process begins to be recorded, and how it ends."""

from __future__ import annotations

import atexit
import contextlib
import datetime
import multiprocessing
import os
import sys
import threading
from multiprocessing import util
from types import TracebackType
from typing import Any, NoReturn

from .fingerprint import unused
from .recorder import Recorder

_POOLS_S = 10.0
_RANKS_S = 10.0


def awake(recorder: Recorder) -> None:
    """Record from now on in a process that slept."""
    if recorder.wake() and multiprocessing.parent_process() is not None:
        # Such processes end without running what `atexit` has.
        util.Finalize(None, recorder.close, exitpriority=0)


def watch(recorder: Recorder) -> None:
    """See to it that the trace ends with the process, and that a forked one does not write to it."""
    atexit.register(_close, recorder)
    os.register_at_fork(after_in_child=recorder.sleep)
    before = sys.excepthook

    def excepthook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> Any:
        recorder.exception = describe(error)
        return before(kind, error, trace)

    sys.excepthook = excepthook


def end(recorder: Recorder) -> NoReturn:
    """End the trace and then the program, at once: neither its handlers nor its ``finally`` blocks run any more."""
    recorder.stopped = True
    recorder.close()
    _let_pools_finish()
    _let_ranks_finish()
    for child in multiprocessing.active_children():
        child.terminate()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):
            stream.flush()
    os._exit(0 if recorder.error is None else 1)


def _let_pools_finish() -> None:
    """Wait a while for what thread pools were given, such as a checkpoint that is written in the background."""
    pools: Any = sys.modules.get("concurrent.futures.thread")
    if pools is not None:
        waiting = threading.Thread(target=pools._python_exit, daemon=True)
        waiting.start()
        waiting.join(_POOLS_S)


def _let_ranks_finish() -> None:
    """Wait a while for the other ranks to come as far: what they still receive of this one ends with it."""
    distributed: Any = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        # A rank that has ended by itself, or has other steps, will never come.
        with contextlib.suppress(RuntimeError, ValueError):
            distributed.barrier(async_op=True).wait(datetime.timedelta(seconds=_RANKS_S))


def _close(recorder: Recorder) -> None:
    """End the trace; a process that only started others, which have their own, writes none."""
    if recorder.output.writer is not None or recorder.fired or unused(recorder.settings):
        recorder.close()


def describe(error: BaseException) -> str:
    """Return the type and the message of an exception on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
