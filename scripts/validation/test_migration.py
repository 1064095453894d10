"""Compare the trainings of the old repository with ours, step by step: one line for each case, with its verdict.

    python scripts/validation/test_migration.py --component router|safety|multimodal|perftrack|all [--jobs N]

The cases are those of `bem-migrate verify run` in tests/parity/cases. Below a case that is not identical stands why:
the first step, phase and tensor that differ, and the module they come from. Ends with the exit code of the worst
verdict: 0 where all are identical, 1 where one is different, 3 where nothing can be said, 4 where too little happened.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from bem_core.errors import BemError
from migrate.verify.case_files import load_case
from migrate.verify.cases import Case
from migrate.verify.parallel import run_cases
from migrate.verify.verdict import Outcome, Verdict, worst

ROOT = Path(__file__).resolve().parents[2]
CASES = {"router": "router_*", "safety": "safety*", "multimodal": "multimodal*", "perftrack": "pt*"}


def cases_of(component: str) -> list[Case]:
    """Return the cases of one component, or of all."""
    patterns = CASES.values() if component == "all" else [CASES[component]]
    files = [file for pattern in patterns for file in sorted((ROOT / "tests/parity/cases").glob(f"{pattern}.yaml"))]
    return [load_case(file) for file in files]


def lines(verdict: Verdict) -> list[str]:
    """Return what is printed for a verdict."""
    seconds = sum(side.get("seconds", 0.0) for side in verdict.sides.values())
    found = [f"{verdict.case:<20} {verdict.outcome.value:<16} {verdict.steps:>4} steps {seconds:6.1f} s"]
    if verdict.outcome is Outcome.IDENTICAL:
        return found
    why = [str(verdict.first)] if verdict.first else list(verdict.reasons[:1])
    if verdict.localised is not None:
        module = verdict.localised.module
        why.append(f"{module}: {verdict.localised.detail}" if module else verdict.localised.detail)
    if verdict.outcome is Outcome.INCONCLUSIVE:
        why += verdict.notes
    return found + [f"    {line}" for text in why for line in text.splitlines()]


def run(cases: list[Case], folder: Path, jobs: int) -> list[Outcome]:
    """Run cases and print the verdict of each, in order."""
    found = []
    for verdict in run_cases(cases, folder, jobs):
        found.append(verdict.outcome)
        print("\n".join(lines(verdict)), flush=True)
    return found


def main() -> int:
    """Run what was asked for; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--component", choices=[*CASES, "all"], default="all", help="whose trainings  [default: all]")
    number = os.cpu_count() or 1
    parser.add_argument(
        "--jobs", type=int, default=number, help=f"cases at the same time  [default: {number}, the cores]"
    )
    asked = parser.parse_args()
    start = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="test-migration-") as folder:
            found = run(cases_of(asked.component), Path(folder), asked.jobs)
    except BemError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    counts = ", ".join(f"{count} {outcome.value}" for outcome, count in Counter(found).items())
    print(f"{len(found)} cases in {time.monotonic() - start:.0f} s: {counts}")
    return worst(found).exit_code


if __name__ == "__main__":
    sys.exit(main())
