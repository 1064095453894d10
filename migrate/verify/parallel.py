"""Runs several cases at once, each in a process of its own; verdicts come in the order of the cases."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor
from concurrent.futures import wait as wait_for
from multiprocessing.connection import wait
from multiprocessing.synchronize import Event
from pathlib import Path

from migrate.verify.cases import Case
from migrate.verify.run import run_case, where_ran
from migrate.verify.verdict import Verdict

# For a side that was told to end.
_GRACE_S = 10.0
_stop: Event | None = None


def run_cases(cases: Sequence[Case], folder: Path, jobs: int = 1) -> Iterator[Verdict]:
    """Run cases and yield their verdicts, in order.

    A case that goes on from another one of them waits for it, and takes what its reference wrote.

    Args:
        cases: What is compared; their names differ.
        folder: For traces and what the sides write; one folder a case is made in it.
        jobs: How many cases run at the same time.
    """
    work = _Work(cases, folder)
    if jobs <= 1 or len(cases) <= 1:
        yield from _in_turn(work)
        return
    # Not a thread each: only the main thread of a process is told to end by a signal, and then ends its sides.
    context, others = multiprocessing.get_context("spawn"), {*multiprocessing.active_children()}
    stop = context.Event()
    pool = ProcessPoolExecutor(min(jobs, len(cases)), context, _begin, (stop,))
    try:
        yield from _at_once(work, pool)
    except BaseException:
        stop.set()
        for child in {*multiprocessing.active_children()} - others:
            child.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


class _Work:
    """Which cases can run, and the verdicts that are there.

    Args:
        cases: In the order in which verdicts are wanted.
        folder: Of all cases.
    """

    def __init__(self, cases: Sequence[Case], folder: Path) -> None:
        self._cases, self._folder = cases, folder
        self._verdicts: list[list[Verdict]] = [[] for _ in cases]
        self._waiting, self._ended = [*range(len(cases))], set[int]()
        # The case whose turn it is, and how many of its verdicts were given.
        self._case = self._given = 0

    def ready(self) -> Iterator[int]:
        """Yield the numbers of cases that can run now, each once."""
        for number in [*self._waiting]:
            earlier = self._earlier(number)
            if earlier is None or earlier in self._ended:
                self._waiting.remove(number)
                yield number

    def arguments(self, number: int) -> tuple[Case, Path, dict[int, Path]]:
        """Return those of `run_case`."""
        earlier = self._earlier(number)
        ran = {} if earlier is None else where_ran(self._place(earlier), self._verdicts[earlier])
        return self._cases[number], self._place(number), ran

    def add(self, number: int, verdict: Verdict) -> None:
        """Take a verdict of a case."""
        self._verdicts[number].append(verdict)

    def end(self, number: int) -> None:
        """Take note that a case has no more verdicts."""
        self._ended.add(number)

    def in_order(self) -> Iterator[Verdict]:
        """Yield the verdicts whose turn it is."""
        while self._case < len(self._cases):
            found = self._verdicts[self._case][self._given :]
            yield from found
            self._given += len(found)
            if self._case not in self._ended:
                return
            self._case, self._given = self._case + 1, 0

    def _place(self, number: int) -> Path:
        return self._folder / self._cases[number].name

    def _earlier(self, number: int) -> int | None:
        """Return the number of the case that a case goes on from, if it is one of these."""
        wanted = self._cases[number].earlier
        return next((at for at, case in enumerate(self._cases) if wanted and _same_runs(case, wanted)), None)


def _same_runs(one: Case, other: Case) -> bool:
    """Tell whether the references of two cases write the same, but for the seeds."""

    def what(case: Case) -> tuple[object, ...]:
        return case.folder.resolve(), case.name, case.reference, case.prepare, case.config, case.threads

    return what(one) == what(other)


def _in_turn(work: _Work) -> Iterator[Verdict]:
    while ready := [*work.ready()]:
        for number in ready:
            for verdict in run_case(*work.arguments(number)):
                work.add(number, verdict)
                yield from work.in_order()
            work.end(number)
            yield from work.in_order()


def _at_once(work: _Work, pool: ProcessPoolExecutor) -> Iterator[Verdict]:
    running: dict[Future[list[Verdict]], int] = {}
    while True:
        running |= {pool.submit(_verdicts, *work.arguments(number)): number for number in work.ready()}
        if not running:
            return
        for future in wait_for(running, return_when=FIRST_COMPLETED).done:
            number = running.pop(future)
            for verdict in future.result():
                work.add(number, verdict)
            work.end(number)
        yield from work.in_order()


def _verdicts(case: Case, folder: Path, ran: dict[int, Path]) -> list[Verdict]:
    return [] if _stop is not None and _stop.is_set() else list(run_case(case, folder, ran))


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
