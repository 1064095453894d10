"""Compare the trainings of the old repository with ours, step by step: one line for each case, with its verdict.

    python scripts/validation/test_migration.py --component router|safety|multimodal|perftrack|all

The cases are those of `bem-migrate verify run` in tests/parity/cases. Ends with the exit code of the worst verdict: 0
where all are identical, 1 where one is different, 3 where nothing can be said, 4 where too little happened.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from bem_core.errors import BemError
from migrate.verify.cases import Case, load_case
from migrate.verify.run import run_case
from migrate.verify.verdict import Outcome, worst

ROOT = Path(__file__).resolve().parents[2]
CASES = {"router": "router_*", "safety": "safety*", "multimodal": "multimodal*", "perftrack": "pt*"}


def cases_of(component: str) -> list[Case]:
    """Return the cases of one component, or of all."""
    patterns = CASES.values() if component == "all" else [CASES[component]]
    files = [file for pattern in patterns for file in sorted((ROOT / "tests/parity/cases").glob(f"{pattern}.yaml"))]
    return [load_case(file) for file in files]


def run(cases: list[Case], folder: Path) -> list[Outcome]:
    """Run cases one after the other and print the verdict of each."""
    found = []
    for case in cases:
        for verdict in run_case(case, folder / case.name):
            found.append(verdict.outcome)
            why = str(verdict.first or "") or "; ".join(verdict.reasons[:1] if verdict.outcome.exit_code else ())
            print(f"{case.name:<20} {verdict.outcome.value:<16} {verdict.steps} steps  {why}".rstrip(), flush=True)
    return found


def main() -> int:
    """Run what was asked for; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--component", choices=[*CASES, "all"], default="all", help="whose trainings  [default: all]")
    asked = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="test-migration-") as folder:
            return worst(run(cases_of(asked.component), Path(folder))).exit_code
    except BemError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
