"""Measure what `BaseTrainer` adds to a loop written by hand, beside other trainers; see README.md.

Each run is a process of its own, on one thread; a round has one run of each loop, in an order that turns.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console
from rich.table import Table

GOALS = {"tiny": 1.05, "large": 1.01}
LOOPS = ("bare", "ours")
PEERS = ("fabric", "accelerate", "transformers", "lightning")


def main() -> int:
    """Print a table for each work."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", choices=(*GOALS, *OTHERS), action="append", help="only this (may be repeated)")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, help="steps that are measured in a run")
    parser.add_argument("--no-peers", action="store_true", help="not the other trainers, which are installed at first")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--run", nargs=3, metavar=("LOOP", "WORK", "STEPS"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        print(json.dumps(run(*args.run)))
        return 0
    figures = {}
    for work in args.work or [*GOALS, *OTHERS]:
        if work in OTHERS:
            figures[work] = OTHERS[work]()
        else:
            peers = work == "tiny" and not args.no_peers
            figures[work] = measure(work, loops_of(peers), args.rounds, args.steps)
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2), encoding="utf-8")
    return 0


def loops_of(peers: bool) -> dict[str, str]:
    """Return the Python that each loop runs with."""
    loops = dict.fromkeys(LOOPS, sys.executable)
    if peers:
        from _trainer_peers import environment

        loops |= dict.fromkeys(PEERS, environment())
    return loops


def run(loop: str, work: str, steps: str) -> dict[str, float]:
    """Do one run in this process."""
    import _trainer_work as works
    import torch

    torch.set_num_threads(1)
    if loop in LOOPS:
        train = getattr(works, loop)
    else:
        import _trainer_peers

        train = getattr(_trainer_peers, loop)
    made = getattr(works, work)(int(steps))
    with tempfile.TemporaryDirectory() as folder:
        clock = train(made, Path(folder))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"wall_s": clock.wall_s / made.steps, "cpu_s": clock.cpu_s / made.steps, "peak_mb": peak}


def child(python: str, loop: str, work: str, steps: int) -> dict[str, float]:
    """Do one run in a process of its own."""
    command = [python, __file__, "--run", loop, work, str(steps)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{loop}: {done.stderr.strip()[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def measure(work: str, loops: dict[str, str], rounds: int, steps: int | None) -> dict[str, Any]:
    """Measure all loops in rounds; print the table of a work."""
    names = list(loops)
    figures: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    count = steps or (2000 if work == "tiny" else 6)
    rounds = rounds if work == "tiny" else max(3, rounds // 3)
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            figures[name].append(child(loops[name], name, work, count))
    table = Table("loop", "ms a step, min", "median", "wall : bare", "CPU : bare", "peak MB", "goal", title=work)
    for name, found in figures.items():
        ratios = {
            kind: median(one[kind] / other[kind] for one, other in zip(found, figures["bare"], strict=True))
            for kind in ("wall_s", "cpu_s")
        }
        wall = [one["wall_s"] * 1000 for one in found]
        goal = f"<= {GOALS[work]}" if name == "ours" else ""
        row = [f"{min(wall):.3f}", f"{median(wall):.3f}", f"{ratios['wall_s']:.3f}", f"{ratios['cpu_s']:.3f}"]
        table.add_row(name, *row, f"{median(one['peak_mb'] for one in found):.0f}", goal)
    Console().print(table)
    return figures


def memory() -> dict[str, Any]:
    """Compare the peak of a short run with that of 10,000 steps, and with the loop by hand."""
    peaks = {
        (loop, steps): child(sys.executable, loop, "tiny", steps)["peak_mb"]
        for loop in LOOPS
        for steps in (500, 10_000)
    }
    table = Table("loop", "peak MB, 800 steps", "10,300 steps", "goal", title="memory")
    for loop in LOOPS:
        goal = "no growth; at most bare + 1 % in large" if loop == "ours" else ""
        table.add_row(loop, f"{peaks[loop, 500]:.1f}", f"{peaks[loop, 10_000]:.1f}", goal)
    Console().print(table)
    return {f"{loop}, {steps}": peak for (loop, steps), peak in peaks.items()}


def resume(rounds: int = 5) -> dict[str, Any]:
    """Compare the time from `train` to the first batch of a resumed run with that of loading its checkpoint."""
    script = str(Path(__file__).with_name("_trainer_resume.py"))
    with tempfile.TemporaryDirectory() as scratch:
        saved = Path(scratch) / "saved"
        subprocess.run([sys.executable, script, "save", str(saved)], check=True)
        found = []
        for number in range(rounds):
            copy = shutil.copytree(saved, Path(scratch) / str(number))
            command = [sys.executable, script, "resume", str(copy)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found.append(json.loads(done.stdout.strip().splitlines()[-1]))
            shutil.rmtree(copy)
    ratio = median(one["resume_s"] / one["load_s"] for one in found)
    table = Table("what", "s, min", "median", "resume : load", "goal", title="resume, 124 million parameters, 1.5 GB")
    for name, key in (("load_tree", "load_s"), ("train, to the first batch", "resume_s")):
        values = [one[key] for one in found]
        last = (f"{ratio:.2f}", "< 2") if key == "resume_s" else ("", "")
        table.add_row(name, f"{min(values):.2f}", f"{median(values):.2f}", *last)
    Console().print(table)
    return {"runs": found}


OTHERS = {"memory": memory, "resume": resume}

if __name__ == "__main__":
    sys.exit(main())
