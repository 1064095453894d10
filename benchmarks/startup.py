"""How long ``python -m bem_core.run`` takes to say something: its help, and its first step on a CPU.

    python benchmarks/startup.py [--rounds 15]

Every figure is from the start of a process. ``import torch`` and the first step of a loop by hand are measured beside
ours, since torch takes the greater part of it. Rows take turns within a round. CPU seconds are of the whole process,
its end included.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
HELP, NOTHING, TORCH = "python -m bem_core.run --help", "python -c pass", "import torch"
BARE, STEP = "first step, loop by hand", "first step, config to end of step"
SCRIPT = "run_bem_experiments.py --help"
GOALS_S = {HELP: 0.3, SCRIPT: 0.3, STEP: 3.0}
BY_HAND = """
import sys, time, torch
from torch.utils.data import DataLoader, TensorDataset
data = DataLoader(TensorDataset(torch.randn(64, 8), torch.randint(2, (64,))), batch_size=8, shuffle=True)
model = torch.nn.Linear(8, 2)
optimizer = torch.optim.AdamW(model.parameters())
for x, y in data:
    torch.nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()
    open(sys.argv[1], "w").write(repr(time.time()))
    break
"""
EXPERIMENT = """\
training: {{max_steps: 2}}
hardware: {{device: cpu}}
metadata: {{mark: {mark}}}
"""


def main() -> int:
    """Measure and print; the exit code is 1 where a goal was missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15, help="default %(default)s")
    rounds = parser.parse_args().rounds
    rows: dict[str, Callable[[], float]] = {
        NOTHING: lambda: wall("-c", "pass"),
        HELP: lambda: wall("-m", "bem_core.run", "--help"),
        SCRIPT: lambda: wall(str(HERE.parent / "scripts/utilities/run_bem_experiments.py"), "--help"),
        TORCH: lambda: wall("-c", "import torch"),
        BARE: by_hand,
        STEP: first_step,
    }
    found: dict[str, list[float]] = {name: [] for name in rows}
    cpu: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(rounds):
        for name, measure in rows.items():
            before = os.times()
            found[name].append(measure())
            after = os.times()
            cpu[name].append(sum(after[2:4]) - sum(before[2:4]))
    Console().print(table(found, cpu))
    return int(any(median(found[name]) > goal for name, goal in GOALS_S.items()))


def wall(*args: str) -> float:
    """Return the seconds of one process from start to exit."""
    path = os.pathsep.join([str(HERE), str(HERE.parent)])
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, *args], env={**os.environ, "PYTHONPATH": path}, capture_output=True, check=True, text=True
    )
    return time.perf_counter() - began


def by_hand() -> float:
    """Return the seconds from the start of a process to the end of the first step of `BY_HAND`."""
    with tempfile.TemporaryDirectory() as folder:
        mark = Path(folder, "mark")
        began = time.time()
        wall("-c", BY_HAND, str(mark))
        return float(mark.read_text()) - began


def first_step() -> float:
    """Return the seconds from the start of a run to the end of its first step."""
    with tempfile.TemporaryDirectory() as folder:
        mark, experiment = Path(folder, "mark"), Path(folder, "tiny.yml")
        experiment.write_text(EXPERIMENT.format(mark=mark))
        began = time.time()
        trainer = "_startup_trainer:Stopwatch"
        wall("-m", "bem_core.run", str(experiment), "--trainer", trainer, "--output-dir", str(Path(folder, "run")))
        return float(mark.read_text()) - began


def table(found: dict[str, list[float]], cpu: dict[str, list[float]]) -> Table:
    """Return the table of all rows, with the goals."""
    shown = Table("what", "median s", "least s", "CPU s, median", "goal", title="Start-up")
    for name, seconds in found.items():
        goal = GOALS_S.get(name)
        met = "" if goal is None else f"<= {goal:g}: {'met' if median(seconds) <= goal else 'missed'}"
        shown.add_row(name, f"{median(seconds):.3f}", f"{min(seconds):.3f}", f"{median(cpu[name]):.3f}", met)
    return shown


if __name__ == "__main__":
    sys.exit(main())
