"""Time commands on fresh copies of a tree, in rounds where every command has its turn."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

LAUNCHER = Path(__file__).with_name("_launch.py")
OWN_FOLDER = ".bem-migrate"


class CommandFailed(Exception):
    """A measured command ended with an exit code that its tool does not use for success."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A way to do the work of a scenario.

    Attributes:
        name: Row of the table.
        commands: Run one after the other in the root of the tree; the figures are added up.
        max_rounds: Fewer than the others where one run takes minutes.
        scale: What the seconds are multiplied by, where only a part of the work is run.
        verify: Whether the tool is meant to rewrite, so that its result is worth looking at.
        ok_codes: Exit codes of success.
        note: What a reader must know of the row.
    """

    name: str
    commands: Sequence[Sequence[str]]
    max_rounds: int = 1000
    scale: float = 1.0
    verify: bool = True
    ok_codes: tuple[int, ...] = (0,)
    note: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """One run: wall and CPU seconds of all its processes, and the peak memory of the largest of them."""

    wall_s: float
    cpu_s: float
    peak_mb: float


@dataclass(slots=True)
class Result:
    """All runs of one tool.

    Attributes:
        tool: What was run.
        samples: A run for each round in which it took part.
        changed: Files that it changed in the first of them.
        changed_bytes: Size of these before.
        left: Files that still import an old module afterwards.
    """

    tool: Tool
    samples: dict[int, Sample] = field(default_factory=dict)
    changed: int = 0
    changed_bytes: int = 0
    left: int = 0

    def best(self, name: str) -> float:
        """Return the least of ``wall_s``, ``cpu_s`` or ``peak_mb`` over the rounds."""
        return min(float(getattr(sample, name)) for sample in self.samples.values())

    def middle(self, name: str) -> float:
        """Return the median of one of the same."""
        return median(float(getattr(sample, name)) for sample in self.samples.values())

    def most(self, name: str) -> float:
        """Return the largest of one of the same."""
        return max(float(getattr(sample, name)) for sample in self.samples.values())


def scratch_root() -> Path:
    """Return a folder in memory where there is one with room, since a disk would be measured otherwise."""
    shm = Path("/dev/shm")
    roomy = shm.is_dir() and os.access(shm, os.W_OK) and shutil.disk_usage(shm).free > 2**30
    return shm if roomy else Path(tempfile.gettempdir())


@contextmanager
def fresh_copy(tree: Path, scratch: Path) -> Iterator[Path]:
    """Yield a copy of ``tree`` that is deleted afterwards."""
    with tempfile.TemporaryDirectory(prefix="bem-bench-", dir=scratch) as folder:
        yield Path(shutil.copytree(tree, Path(folder, "repo")))


def run(tool: Tool, cwd: Path) -> Sample:
    """Run the commands of ``tool`` in ``cwd``."""
    runs = [_launch(command, tool, cwd) for command in tool.commands]
    wall_s, cpu_s = (tool.scale * sum(one[key] for one in runs) for key in ("wall_s", "cpu_s"))
    return Sample(wall_s, cpu_s, max(one["peak_mb"] for one in runs))


def _launch(command: Sequence[str], tool: Tool, cwd: Path) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="bem-bench-") as folder:
        result, errors = Path(folder, "result.json"), Path(folder, "stderr")
        with errors.open("wb") as stderr:
            launcher = [sys.executable, "-I", "-S", str(LAUNCHER), str(result), *command]
            subprocess.run(launcher, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr)
        text = errors.read_text(encoding="utf-8", errors="replace")[-2000:]
        if not result.exists():
            raise CommandFailed(f"{command[0]} did not start\n{text}")
        figures: dict[str, float] = json.loads(result.read_text(encoding="utf-8"))
    if figures["exit_code"] not in tool.ok_codes:
        raise CommandFailed(f"{' '.join(command)[:300]} ended with {figures['exit_code']}\n{text}")
    return figures


def compare(
    tools: Sequence[Tool],
    tree: Path,
    scratch: Path,
    rounds: int,
    left: Callable[[Path], int],
    progress: Callable[[str], None],
) -> list[Result]:
    """Measure every tool in every round, each on a copy of its own; the order turns from round to round."""
    results = [Result(tool) for tool in tools]
    for number in range(rounds):
        turn = number % len(results)
        for result in results[turn:] + results[:turn]:
            if number < result.tool.max_rounds:
                progress(f"round {number + 1}/{rounds}: {result.tool.name}")
                _measure(result, number, tree, scratch, left)
    return results


def _measure(result: Result, number: int, tree: Path, scratch: Path, left: Callable[[Path], int]) -> None:
    with fresh_copy(tree, scratch) as copy:
        result.samples[number] = run(result.tool, copy)
        if result.tool.verify and len(result.samples) == 1:
            changed = changed_files(tree, copy)
            result.changed, result.changed_bytes = len(changed), sum((tree / name).stat().st_size for name in changed)
            result.left = left(copy)


def changed_files(before: Path, after: Path) -> list[str]:
    """Return the files of ``before`` that have other bytes in ``after``, relative to both."""
    names = (path.relative_to(before) for path in python_files(before))
    return [str(name) for name in names if (before / name).read_bytes() != (after / name).read_bytes()]


def python_files(tree: Path) -> list[Path]:
    """Return all Python files below ``tree`` in a stable order."""
    return sorted(path for path in tree.rglob("*.py") if OWN_FOLDER not in path.parts)
