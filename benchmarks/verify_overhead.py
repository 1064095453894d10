"""What recording a training costs: CPU time of a step with `tracing` to that of the same step without.

    python benchmarks/verify_overhead.py [--rounds 40] [--cpu-s 0.5]

A round runs as many steps as take ``--cpu-s`` seconds, without and with each level in turn, on one model, one thread
and one process; the first steps of each are not counted. The median over rounds decides; the quartiles tell how far to
trust it. ``bytes`` is the size of the trace for each step. The last line is how much the peak of memory grew where
tensors had to be copied.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from migrate.verify.trace.session import tracing

# Caches of the interpreter are empty after functions were replaced.
WARM_UP = 10
# Width, layers, sequences, tokens of each; on the machine of the results they take 10, 30, 60 and 160 ms.
MODELS = {
    "0.2 M, 39 tensors": (64, 3, 8, 32),
    "0.9 M, 51 tensors, few tokens": (128, 4, 4, 64),
    "0.9 M, 51 tensors": (128, 4, 8, 64),
    "3.3 M, 51 tensors": (256, 4, 8, 64),
}
# Level, least milliseconds of a step, most share of it.
GOALS = {"light": (10.0, 0.02), "full": (50.0, 0.05)}
VOCABULARY = 256


class Model(nn.Module):
    """A transformer that predicts the next of 256 tokens."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, width)
        block = nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.1, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(block, layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, VOCABULARY)

    def forward(self, tokens_BL: Tensor) -> Tensor:
        """Return logits."""
        out: Tensor = self.head(self.blocks(self.embedding(tokens_BL)))
        return out


def make_step(width: int, layers: int, batch: int, length: int) -> Callable[[], None]:
    """Return a function that does one step of a training."""
    torch.manual_seed(0)
    model = Model(width, layers)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 1_000_000)

    def step() -> None:
        tokens = torch.randint(VOCABULARY, (batch, length + 1))
        optimizer.zero_grad()
        logits = model(tokens[:, :-1])
        nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()

    return step


def timed(step: Callable[[], None], number: int) -> float:
    """Return CPU milliseconds of a step."""
    for _ in range(WARM_UP):
        step()
    start = time.process_time()
    for _ in range(number):
        step()
    return 1000 * (time.process_time() - start) / number


def measure(sizes: tuple[int, int, int, int], rounds: int, cpu_s: float, folder: Path) -> tuple[float, dict[str, Any]]:
    """Return the milliseconds of a bare step, and for each level the shares it adds and the bytes of its trace."""
    step = make_step(*sizes)
    number = max(2, round(1000 * cpu_s / timed(step, 3)))
    bare, found = [], {level: ([], 0) for level in GOALS}
    for _ in range(rounds):
        times = {}
        for level in (None, *GOALS):
            path = folder / f"{level}.trace"
            with tracing(path, level=level) if level else nullcontext():
                times[level] = timed(step, number)
            if level:
                size = path.stat().st_size // (number + WARM_UP)
                found[level] = ([*found[level][0], times[level] / times[None] - 1], size)
        bare.append(times[None])
    return median(bare), found


def memory(folder: Path) -> str:
    """Return by how much the peak of memory grows when tensors of 64 MB that are not contiguous are recorded."""
    weights = [nn.Parameter(torch.zeros(4096, 4096).t()) for _ in range(4)]
    for weight in weights:
        weight.grad = torch.zeros(4096, 4096).t()
    optimizer = torch.optim.SGD(weights, lr=0.1, foreach=False)
    optimizer.step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tracing(folder / "memory.trace", level="full"):
        optimizer.step()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return f"peak of memory, 8 tensors of 64 MiB that are not contiguous: +{grown / 1024:.0f} MiB"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--cpu-s", type=float, default=0.5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    table = Table(title=f"Cost of recording, share of the CPU time of a step; {args.rounds} rounds, 1 thread")
    for heading in ("parameters", "level", "bare step, ms", "25 %", "median", "75 %", "bytes", "goal"):
        table.add_column(heading, justify="left" if heading in ("parameters", "level") else "right")
    with tempfile.TemporaryDirectory() as name:
        grown = memory(Path(name))
        for model, sizes in MODELS.items():
            bare, found = measure(sizes, args.rounds, args.cpu_s, Path(name))
            for level, (shares, size) in found.items():
                least, most = GOALS[level]
                low, middle, high = quantiles(shares, n=4)
                goal = "-" if bare < least else f"<= {most:.0%}: {'yes' if middle <= most else 'NO'}"
                cells = [f"{share:.2%}" for share in (low, middle, high)]
                table.add_row(model, level, f"{bare:.1f}", *cells, str(size), goal)
    Console().print(table)
    Console().print(grown)


if __name__ == "__main__":
    main()
