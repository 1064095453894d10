"""Runs several cases at once, each in a process of its own; verdicts come in the order of the cases."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from migrate.verify.cases import Case
from migrate.verify.run import run_case
from migrate.verify.verdict import Verdict


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
    with ProcessPoolExecutor(min(jobs, len(cases)), multiprocessing.get_context("spawn")) as pool:
        for verdicts in pool.map(_verdicts, cases, [folder / case.name for case in cases]):
            yield from verdicts


def _verdicts(case: Case, folder: Path) -> list[Verdict]:
    return list(run_case(case, folder))
