"""Runs several cases at once, each in a process of its own; verdicts come in the order of the cases."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import wait
from multiprocessing.synchronize import Event
from pathlib import Path

from migrate.verify.cases import Case
from migrate.verify.run import run_case
from migrate.verify.verdict import Verdict

# For a side that was told to end.
_GRACE_S = 10.0
_stop: Event | None = None


def run_cases(cases: Sequence[Case], folder: Path, jobs: int = 1) -> Iterator[Verdict]:
    """Run cases and yield their verdicts, in order.

    Args:
        cases: What is compared; their names differ.
        folder: For traces and what the sides write; one folder a case is made in it.
        jobs: How many cases run at the same time.
    """
    if jobs <= 1 or len(cases) <= 1:
        for case in cases:
            yield from run_case(case, folder / case.name)
        return
    # Not a thread each: only the main thread of a process is told to end by a signal, and then ends its sides.
    context, others = multiprocessing.get_context("spawn"), {*multiprocessing.active_children()}
    stop = context.Event()
    pool = ProcessPoolExecutor(min(jobs, len(cases)), context, _begin, (stop,))
    try:
        for verdicts in pool.map(_verdicts, cases, [folder / case.name for case in cases]):
            yield from verdicts
    except BaseException:
        stop.set()
        for child in {*multiprocessing.active_children()} - others:
            child.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _verdicts(case: Case, folder: Path) -> list[Verdict]:
    return [] if _stop is not None and _stop.is_set() else list(run_case(case, folder))


def _begin(stop: Event) -> None:
    global _stop
    _stop = stop
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Wait for the end of the process that wants the verdicts, and end this one and the side that it runs."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    assert _stop is not None
    wait([parent.sentinel])
    _stop.set()
    for _ in range(2):  # After one side another one may have begun.
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_GRACE_S)
    os._exit(1)
