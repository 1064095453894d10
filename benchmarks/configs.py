"""Measure what ``bem-migrate configs`` finds: on real configurations, and on made ones whose best answer is known.

    python benchmarks/configs.py --corpora ../shared/corpus

Prints a row for each goal with the figure beside it. See ``README.md``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from _configs_planted import Planted, hierarchy, orthogonal
from _configs_rows import Run, corpus_goals, load, planted_goals, run, speed_goals, table
from rich.console import Console

CORPORA = {
    "bem": ("bem/experiments", 24, (0.49, 0.40)),
    "torchtune": ("torchtune/recipes/configs", 60, (0.88, 0.83)),
}
PLANTED: dict[str, Callable[[], Planted]] = {
    "hierarchy, 60 files": lambda: hierarchy(60, 3, 3),
    "hierarchy, 200 files": lambda: hierarchy(200, 4, 5),
    "hierarchy, 500 files": lambda: hierarchy(500, 6, 8),
    "groups, 500 files": orthogonal,
    "hierarchy, 5,000 files": lambda: hierarchy(5000, 10, 12),
}


def main() -> int:
    """Run what the command line names; the exit code is 1 where a goal is missed."""
    options = _parser().parse_args()
    console = Console(width=options.width)
    runs: list[Run] = []
    for name, (folder, most, _) in CORPORA.items():
        if not (options.corpora / folder).is_dir():
            console.print(f"{name}: no folder {folder} in the one that --corpora names; left out", markup=False)
            continue
        runs.append(run(name, load(options.corpora / folder), most))
    for name, make in PLANTED.items():
        if options.fast and "5,000" in name:
            continue
        planted = make()
        runs.append(run(name, planted.documents, None, planted))
    goals = corpus_goals(runs, {name: wanted for name, (_, _, wanted) in CORPORA.items()}, {"bem": 24, "torchtune": 60})
    goals += planted_goals(runs) + speed_goals(runs)
    for shown in table(runs, goals):
        console.print(shown)
    if options.json:
        report = {"runs": [one.report() for one in runs], "goals": [asdict(goal) for goal in goals]}
        options.json.write_text(json.dumps(report, indent=1), encoding="utf-8")
    return 0 if all(goal.met for goal in goals) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    default = Path(__file__).resolve().parents[2] / "shared" / "corpus"
    add(
        "--corpora",
        type=Path,
        default=default,
        help="folder with the real files; default: the one beside this repository",
    )
    add("--fast", action="store_true", help="leave out the 5,000 files")
    add("--json", type=Path, help="write all figures to this file")
    add("--width", type=int, default=140, help="columns of the tables")
    return parser


if __name__ == "__main__":
    sys.exit(main())
