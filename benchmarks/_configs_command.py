"""The whole command, as a user runs it, on files made for it: wall time, CPU time, and memory of all its processes."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import yaml
from _configs_planted import Planted
from _configs_rows import Goal
from _measure import scratch_root
from rich.table import Table

REPOSITORY = Path(__file__).resolve().parents[1]
_SAMPLE_S = 0.05
_PAGE = resource.getpagesize()


@dataclass(frozen=True, slots=True)
class Command:
    """One run of ``bem-migrate configs``.

    Attributes:
        num_files: Experiments.
        verified: Experiments that it read back.
        wall_s: From start to exit.
        cpu_s: Of all its processes.
        peak_mb: Most memory that all its processes held together, shared pages counted for each.
    """

    name: str
    num_files: int
    verified: int
    wall_s: float
    cpu_s: float
    peak_mb: float


def best_command(name: str, planted: Planted, rounds: int) -> Command:
    """Return the quickest of some runs, since other work on the machine only adds; the memory is the most of them."""
    runs = [run_command(name, planted) for _ in range(rounds)]
    return replace(min(runs, key=lambda one: one.wall_s), peak_mb=max(one.peak_mb for one in runs))


def run_command(name: str, planted: Planted) -> Command:
    """Write the documents to files, and run the command on them."""
    with tempfile.TemporaryDirectory(prefix="bem-bench-", dir=scratch_root()) as folder:
        experiments = Path(folder, "experiments")
        experiments.mkdir()
        Path(folder, "pyproject.toml").touch()
        for file, document in planted.documents.items():
            text = yaml.dump(document, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False)
            (experiments / file).write_text(text, encoding="utf-8")
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        command = [sys.executable, "-m", "migrate.cli", "configs", "experiments", "--format", "json"]
        env = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE)
        memory = _Memory(process.pid)
        memory.start()
        output = process.communicate()[0]
        wall_s, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        memory.join()
    report = json.loads(output)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Command(name, len(planted.documents), report["verified"], wall_s, cpu_s, memory.peak / 1e6)


class _Memory(threading.Thread):
    """Looks at a process and all below it until it ends."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid = pid
        self.peak = 0

    def run(self) -> None:
        while found := sum(map(_resident, _below(self.pid))):
            self.peak = max(self.peak, found)
            time.sleep(_SAMPLE_S)


def _below(pid: int) -> list[int]:
    found = [pid]
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [one for child in children.read_text().split() for one in _below(int(child))]
        except OSError:  # the thread has ended
            continue
    return found


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except OSError:  # the process has ended
        return 0


def command_goals(commands: list[Command]) -> list[Goal]:
    """Hold the command to its limits of time and memory."""
    goals = []
    for one in commands:
        limit = {500: 5, 5000: 60}[one.num_files]
        goals.append(Goal(f"{one.name}: command < {limit} s", f"{one.wall_s:.1f} s", one.wall_s < limit))
        goals.append(Goal(f"{one.name}: command, all processes < 1 GB", f"{one.peak_mb:.0f} MB", one.peak_mb < 1000))
        goals.append(
            Goal(f"{one.name}: files read back", f"{one.verified} of {one.num_files}", one.verified == one.num_files)
        )
    return goals


def command_table(commands: list[Command]) -> Table:
    """Return the rows of the commands that were run."""
    table = Table(title="the whole command", title_justify="left")
    table.add_column("configurations", no_wrap=True)
    for heading in ("files", "read back", "wall s", "CPU s", "peak MB, all processes"):
        table.add_column(heading, justify="right")
    for one in commands:
        table.add_row(
            one.name,
            str(one.num_files),
            str(one.verified),
            f"{one.wall_s:.1f}",
            f"{one.cpu_s:.1f}",
            f"{one.peak_mb:.0f}",
        )
    return table
