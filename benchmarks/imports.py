"""Measure ``bem-migrate imports`` against its peers: the same moves on the same trees in one run.

    python benchmarks/imports.py --scenario i,ii,iii,iv,v --rounds 5

Prints what each tool took, how many files it changed, and each goal with what was reached. See ``README.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import _corpora
import _peers
import _references
import _tables
from _measure import CommandFailed, Result, Tool, compare, fresh_copy, python_files, scratch_root
from _scenarios import FEW_MOVES, MANY_MOVES, PROJECT_MOVES, SCENARIOS, Move, Scenario, mapping, move_files
from _tables import Goal, Point
from rich.console import Console

LINEARITY = "v"


@dataclass(frozen=True, slots=True)
class Setup:
    """What all scenarios share: the peers' environment, the command that is measured, and where to work."""

    options: argparse.Namespace
    venv: Path
    command: tuple[str, ...]
    work: Path
    progress: Callable[[str], None]

    def tree(self, name: str) -> Path:
        """Return one of the trees; see `_corpora.build`."""
        return _corpora.build(name, self.options.cache, self.venv)


def main() -> int:
    """Run the scenarios that the command line names; the exit code is 2 where a tool failed."""
    options = _parser().parse_args()
    console, log = Console(width=options.width), Console(stderr=True)
    try:
        with log.status("preparing") as status, tempfile.TemporaryDirectory(prefix="bem-bench-") as work:
            setup = _set_up(options, Path(work), status.update)
            report = _measure_all(setup, console)
    except (CommandFailed, FileNotFoundError, subprocess.CalledProcessError) as error:
        log.print(f"error: {error}", style="red", markup=False)
        return 2
    if options.json:
        options.json.write_text(json.dumps(report, indent=1), encoding="utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    keys = ",".join([*SCENARIOS, LINEARITY])
    add("--scenario", type=_keys, default=keys, help="comma-separated; default %(default)s")
    add("--rounds", type=int, default=5, help="runs of each tool; default %(default)s")
    add("--full", action="store_true", help="all five libcst runs, and libcst and bowler on all packages: hours")
    add("--fast", action="store_true", help="leave out libcst and bowler, which take minutes")
    add("--json", type=Path, help="write all samples to this file")
    add("--tool", default=str(Path(sys.executable).with_name("bem-migrate")), help="default %(default)s")
    add("--cache", type=Path, default=Path(__file__).parent / ".cache", help="environment and trees")
    add("--scratch", type=Path, default=scratch_root(), help="where the copies are rewritten; default %(default)s")
    add("--width", type=int, default=140, help="columns of the tables")
    return parser


def _keys(text: str) -> list[str]:
    keys = text.split(",")
    for key in keys:
        if key not in (*SCENARIOS, LINEARITY):
            raise argparse.ArgumentTypeError(f"{key!r} is none of {', '.join([*SCENARIOS, LINEARITY])}")
    return keys


def _set_up(options: argparse.Namespace, work: Path, progress: Callable[[str], None]) -> Setup:
    missing = _peers.missing_system_tools()
    if missing:
        raise CommandFailed(f"not on this system: {', '.join(missing)}")
    options.cache = options.cache.resolve()
    options.cache.mkdir(parents=True, exist_ok=True)
    return Setup(options, _corpora.environment(options.cache), tuple(shlex.split(options.tool)), work, progress)


def _measure_all(setup: Setup, console: Console) -> dict[str, object]:
    about = _environment(setup)
    console.print("  ".join(f"{key}: {value}" for key, value in about.items()), markup=False)
    report: dict[str, object] = {"environment": about}
    goals: list[tuple[str, Goal]] = []
    for key in setup.options.scenario:
        if key == LINEARITY:
            points = _linearity(setup)
            console.print(_tables.linearity_table(points))
            report[key] = [asdict(point) for point in points]
            goals.append((key, _tables.linearity_goal(points)))
        else:
            report[key], found = _scenario(setup, SCENARIOS[key], console)
            goals += [(key, goal) for goal in found]
    console.print(_tables.goals_table(goals))
    report["goals"] = [{"scenario": key, **asdict(goal)} for key, goal in goals]
    return report


def _environment(setup: Setup) -> dict[str, str]:
    peers = _corpora.versions(setup.venv)
    names = ("libcst", "ast-grep-cli", "bowler", "sympy", "networkx", "numpy")
    version = [*setup.command, "--version"]
    try:
        own = subprocess.run(version, capture_output=True, text=True, check=True).stdout.strip()
    except OSError as error:
        raise CommandFailed(f"{error}; install the project or name the command with --tool") from error
    return {
        "tool": own,
        "python": platform.python_version(),
        "CPUs": str(len(os.sched_getaffinity(0))),
        "machine": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load": f"{os.getloadavg()[0]:.1f}",
        **{name: peers[name] for name in names},
    }


def _scenario(setup: Setup, scenario: Scenario, console: Console) -> tuple[dict[str, object], list[Goal]]:
    """Measure one scenario and print its table."""
    setup.progress(f"{scenario.key}: preparing the tree")
    with fresh_copy(setup.tree(scenario.tree), setup.options.scratch) as tree:
        move_files(tree, scenario.moves)
        size, to_do = _corpora.size(tree), _references.count(tree, scenario.moves, scenario.roots)
        results = compare(
            _tools(setup, scenario, tree),
            tree,
            setup.options.scratch,
            setup.options.rounds,
            lambda copy: _references.count(copy, scenario.moves, scenario.roots),
            lambda text: setup.progress(f"{scenario.key}: {text}"),
        )
    title = (
        f"{scenario.key}: {scenario.title}\n{size['files']:,} files, {size['lines']:,} lines, "
        f"{size['bytes'] / 1e6:.2f} MB; {to_do} files import one of {len(scenario.moves)} old modules"
    )
    console.print(_tables.results_table(title, results))
    found = _tables.goals(scenario.key, results)
    return {"size": size, "files_to_do": to_do, "tools": [_plain(result) for result in results]}, found


def _tools(setup: Setup, scenario: Scenario, tree: Path) -> list[Tool]:
    """Return the tools of a scenario: the peers that rewrite, except where there is nothing to rewrite."""
    moves, options = scenario.moves, setup.options
    tools = [_ours(setup, scenario.key, moves), _peers.start_up(setup.command), _peers.grep(moves)]
    if scenario.key == "iv":
        return tools
    tools += [_peers.ast_grep(setup.venv, setup.work, moves, scenario.roots, relative) for relative in (False, True)]
    is_project = scenario.key == "i"
    if scenario.key == "iii" or options.fast:
        return tools
    tools.append(_peers.libcst_one(setup.venv, moves, tree, options.full, is_project))
    if options.full:
        tools.append(_peers.libcst_five(setup.venv, moves))
    if options.full or is_project:
        tools.append(_peers.bowler(setup.venv, setup.work, moves))
    return tools


def _ours(setup: Setup, name: str, moves: Sequence[Move]) -> Tool:
    path = setup.work / f"moves-{name}.yaml"
    path.write_text(mapping(tuple(moves)), encoding="utf-8")
    return _peers.ours(setup.command, path)


def _plain(result: Result) -> dict[str, object]:
    return {
        "name": result.tool.name,
        "note": result.tool.note,
        "changed": result.changed if result.tool.verify else None,
        "left": result.left if result.tool.verify else None,
        "samples": [asdict(sample) for sample in result.samples.values()],
    }


def _linearity(setup: Setup) -> list[Point]:
    """Measure the tool alone: nothing to do, few files, and many in growing quarters of the packages."""
    quarters = [_point(setup, f"many, {count}/4 of the files", MANY_MOVES, count) for count in (1, 2, 3, 4)]
    return [_point(setup, "none", PROJECT_MOVES), _point(setup, "few", FEW_MOVES), *quarters]


def _point(setup: Setup, name: str, moves: tuple[Move, ...], quarters: int = 4) -> Point:
    scratch, tool = setup.options.scratch, _ours(setup, LINEARITY, moves)
    setup.progress(f"{LINEARITY}: {name}")
    with fresh_copy(setup.tree("packages"), scratch) as tree:
        move_files(tree, moves)
        _thin_out(tree, quarters)
        (result,) = compare([tool], tree, scratch, setup.options.rounds, lambda copy: 0, lambda text: None)
    return Point(name, result.changed, result.changed_bytes / 1e6, result.best("wall_s"), result.best("cpu_s"))


def _thin_out(tree: Path, quarters: int) -> None:
    """Delete files so that about ``quarters`` quarters are left; packages keep what makes them packages."""
    modules = [path for path in python_files(tree) if path.name != "__init__.py"]
    for number, path in enumerate(modules):
        if number % 4 >= quarters:
            path.unlink()


if __name__ == "__main__":
    sys.exit(main())
