"""Measure what ``bem-migrate configs`` finds: on real configurations, and on made ones whose best answer is known.

    python benchmarks/configs.py --corpora ../shared/corpus

Prints a row for each goal with the figure beside it. See ``README.md``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from _configs_command import best_command, command_goals, command_table
from _configs_planted import Planted, hierarchy, orthogonal
from _configs_rows import Run, corpus_goals, goals_table, load, planted_goals, run, speed_goals, table
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

# Also written to files, for so many runs of the whole command.
COMMANDS = {"hierarchy, 500 files": 3, "groups, 500 files": 3, "hierarchy, 5,000 files": 1}


def main() -> int:
    """Run what the command line names; the exit code is 1 where a goal is missed."""
    options = _parser().parse_args()
    console = Console(width=options.width)
    planted = {name: make() for name, make in PLANTED.items() if not (options.fast and "5,000" in name)}
    runs = [] if options.command else _searches(options.corpora, options.caps, planted, console)
    commands = [best_command(name, planted[name], rounds) for name, rounds in COMMANDS.items() if name in planted]
    goals = command_goals(commands)
    if runs:
        shares = {name: wanted for name, (_, _, wanted) in CORPORA.items()}
        goals = [*corpus_goals(runs, shares, {"bem": 24, "torchtune": 60}), *planted_goals(runs), *goals]
        goals += speed_goals(runs)
        console.print(table(runs))
    console.print(command_table(commands))
    console.print(goals_table(goals))
    if options.json:
        report = {"runs": [one.report() for one in runs], "commands": [asdict(one) for one in commands]}
        report["goals"] = [asdict(goal) for goal in goals]
        options.json.write_text(json.dumps(report, indent=1), encoding="utf-8")
    return 0 if all(goal.met for goal in goals) else 1


def _searches(corpora: Path, caps: bool, planted: Mapping[str, Planted], console: Console) -> list[Run]:
    """Run the search alone on every set of configurations."""
    runs: list[Run] = []
    for name, (folder, most, _) in CORPORA.items():
        if not (corpora / folder).is_dir():
            console.print(f"{name}: no folder {folder} in the one that --corpora names; left out", markup=False)
            continue
        runs.append(run(name, load(corpora / folder), most if caps else None))
    return runs + [run(name, made.documents, None, made) for name, made in planted.items()]


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
    add("--caps", action="store_true", help="pass the most templates that the goals allow")
    add("--fast", action="store_true", help="leave out the 5,000 files")
    add("--command", action="store_true", help="only the whole command, not the search alone")
    add("--json", type=Path, help="write all figures to this file")
    add("--width", type=int, default=140, help="columns of the tables")
    return parser


if __name__ == "__main__":
    sys.exit(main())
