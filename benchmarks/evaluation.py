"""Throughput of `BaseEvaluator` against a loop written by hand that does the same work.

    python benchmarks/evaluation.py [--rounds 15] [--batches 200] [--device cpu]

Both run in one process, in turns, on the same batches in memory. A round gives one ratio for each row; the medians of
rounds decide.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from bem_core.evaluation import BaseEvaluator
from bem_core.utils.device import pick_device, synchronize

GOAL = 0.95
# Width of the input, samples of a batch, width inside.
SIZES = {"50 us": (64, 32, 128), "300 us": (256, 32, 512), "2 ms": (256, 64, 1024)}
WORK = {
    "inference only": {},
    "accuracy, loss": {"metrics": ["accuracy", "loss"]},
    "accuracy, loss, latency": {"metrics": ["accuracy", "loss"], "track_latency": True},
}


class Plain(BaseEvaluator):
    """Runs the model and nothing else."""

    def _run_inference(self, batch: Any) -> Mapping[str, Any]:
        return {"logits": self.model(batch["x"])}


class Scored(BaseEvaluator):
    """Runs the model and returns classes and losses."""

    def _run_inference(self, batch: Any) -> Mapping[str, Any]:
        return scores(self.model, batch)


def scores(model: nn.Module, batch: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Return predicted classes and the loss of each sample."""
    logits = model(batch["x"])
    loss = nn.functional.cross_entropy(logits, batch["labels"], reduction="none")
    return {"predictions": logits.argmax(1), "loss": loss}


def by_hand(model: nn.Module, data: list[dict[str, Any]], device: torch.device, names: Any) -> None:
    """Do what an evaluation without a library would: sums on the device, read once."""
    model.eval()
    hits, losses, count = torch.zeros((), device=device), torch.zeros((), device=device), 0
    with torch.inference_mode():
        for batch in data:
            batch = {key: value.to(device, non_blocking=True) for key, value in batch.items()}
            if not names:
                model(batch["x"])
                continue
            outputs = scores(model, batch)
            hits += (outputs["predictions"] == batch["labels"]).sum()
            losses += outputs["loss"].sum()
            count += len(batch["labels"])
    if count:
        (hits / count).item(), (losses / count).item()
    synchronize(device)
    model.train()


def timed(function: Callable[[], object]) -> tuple[float, float]:
    """Return wall and CPU seconds of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - wall, time.process_time() - cpu


def measure(size: str, work: str, rounds: int, num_batches: int, device: torch.device) -> tuple[float, float, float]:
    """Return the median wall ratio, the median CPU ratio (bare to ours), and the bare milliseconds of a batch."""
    width, batch_size, hidden = SIZES[size]
    torch.manual_seed(0)
    layers = [nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, 10)]
    model = nn.Sequential(*layers).to(device)
    data = [
        {"x": torch.randn(batch_size, width), "labels": torch.randint(10, (batch_size,))} for _ in range(num_batches)
    ]
    config = WORK[work]
    evaluator = (Scored if config else Plain)(model, config)
    bare, ours = lambda: by_hand(model, data, device, config), lambda: evaluator.evaluate(data)
    bare(), ours()
    found = []
    for number in range(rounds):
        first, second = (timed(one) for one in ((bare, ours) if number % 2 else (ours, bare)))
        found.append((first, second) if number % 2 else (second, first))
    wall = median(one[0] / other[0] for one, other in found)
    cpu = median(one[1] / other[1] for one, other in found)
    return wall, cpu, 1000 * median(one[0] for one, _ in found) / num_batches


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batches", type=int, default=200)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    device = pick_device(args.device)
    if device.type == "cpu":
        torch.set_num_threads(1)
    table = Table(title=f"Throughput of BaseEvaluator : loop by hand, on {device}; {args.rounds} rounds")
    for heading in ("model", "work", "loop by hand, ms a batch", "wall, median", "CPU, median", f">= {GOAL}"):
        table.add_column(heading, justify="left" if heading in ("model", "work") else "right")
    for size in SIZES:
        for work in WORK:
            wall, cpu, ms = measure(size, work, args.rounds, args.batches, device)
            table.add_row(size, work, f"{ms:.3f}", f"{wall:.3f}", f"{cpu:.3f}", "yes" if wall >= GOAL else "NO")
    Console().print(table)


if __name__ == "__main__":
    main()
