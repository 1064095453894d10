"""Which faults of the project's trainings ``bem-migrate verify`` finds, where, and what lesser criteria would find.

    python benchmarks/verify_faults_project.py [--seed 0] [--identical 8] [--jobs 2] [--folder FOLDER] [--all]

Every fault of ``tests/parity/faults`` begins at a random step of each training that it can be in. The reference is the
old trainer of ``tests/parity/cases``, the candidate ours with the fault; both are made short in the same way, names and
exceptions are those of the cases. A fault computes the right value beside the wrong one and says where they first
differ; one that never does is an equivalent mutant, which must not be found. The phase is that of the first difference;
where that is ``loss``, the step is replayed with all modules recorded, as ``verify run`` does, and the cause that this
names counts. The other columns judge the same runs by less. Then runs without a fault, each with another seed: each
verdict but ``identical`` is a false alarm. Exit code 1 where a fault is missed or an equivalent one is found, less than
95 % are in the right phase, a run fails, or there is a false alarm.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from _faults import Count, table_of, total_of
from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from migrate.verify.phases import PHASES
from tests.parity.faults.trainings import TRAININGS

ROOT = Path(__file__).resolve().parent.parent


def results(folder: Path, given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield what became of each injection and each run without a fault, a training after the other."""
    with ThreadPoolExecutor(given.jobs) as pool:
        for found in pool.map(lambda name: results_of(name, folder, given), given.trainings):
            yield from found


def results_of(training: str, folder: Path, given: argparse.Namespace) -> list[dict[str, Any]]:
    """Return what became of the injections into one training."""
    words = [sys.executable, "-m", "tests.parity.faults.injecting", str(folder), f"--seed={given.seed}"]
    words += [f"--identical={given.identical}", "--trainings", training]
    done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{training}: the injections ended with {done.returncode}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def told(one: dict[str, Any]) -> str:
    """Return a line on one injection."""
    expected = "nothing" if one["expected"] is None else f"step {one['expected']}, {one['phase']}"
    replayed = f"; replay: {one['replayed']} {one['module']}" if one["replayed"] else ""
    return f"{one['training']}, step {one['at']}: {one['fault']}: expected {expected}; {one['told']}{replayed}"


def count(console: Console, folder: Path, given: argparse.Namespace) -> tuple[dict[str, Count], dict[str, Count], int]:
    """Print what is not as it should be; return counts by phase and by training, and what else is wrong."""
    phases: dict[str, Count] = {}
    trainings: dict[str, Count] = {}
    faults, runs, wrong = set(), 0, 0
    for one in results(folder, given):
        if one["failed"]:
            console.print(f"{one['training']}: {one['fault']}: the run failed: {one['failed'].strip()[-300:]}")
            wrong += 1
            continue
        if one["fault"] is None:
            runs += 1
            wrong += one["outcome"] != "identical"
            if one["outcome"] != "identical":
                console.print(f"{one['training']}: false alarm: {one['told']}")
            continue
        faults.add(one["fault"])
        found = None if one["step"] is None else (one["step"], one["replayed"] or one["found"])
        expected = one["expected"], one["phase"]
        for counts, name in ((phases, one["phase"]), (trainings, one["training"])):
            counts.setdefault(name, Count()).add(expected, found, one["peers"])
        if given.all or (found != expected and (found is not None or expected[0] is not None)):
            console.print(told(one), highlight=False)
    console.print(f"{len(faults)} faults, seed {given.seed}; {runs} runs without one")
    return phases, trainings, wrong


def main() -> int:
    """Inject, compare and print; see the top of the file for the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=0, help="of the steps at which faults begin; default %(default)s")
    parser.add_argument(
        "--identical", type=int, default=8, help="runs without a fault, a training; default %(default)s"
    )
    parser.add_argument("--trainings", nargs="+", default=list(TRAININGS), choices=list(TRAININGS))
    parser.add_argument("--jobs", type=int, default=1, help="trainings at the same time; default %(default)s")
    parser.add_argument("--folder", type=Path, help="keep the references here, and use those that are there")
    parser.add_argument("--all", action="store_true", help="print what was found of each fault")
    given = parser.parse_args()
    console = Console(width=160)
    with tempfile.TemporaryDirectory() as name:
        phases, trainings, wrong = count(console, given.folder or Path(name), given)
    console.print(table_of("phase", phases, PHASES))
    console.print()
    console.print(table_of("training", trainings))
    return int(bool(wrong) or not total_of(phases.values()).good)


if __name__ == "__main__":
    sys.exit(main())
