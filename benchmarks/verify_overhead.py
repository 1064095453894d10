"""What recording a training costs: CPU time of a step with `tracing` to that of the same step without.

    python benchmarks/verify_overhead.py [--rounds 20] [--cpu-s 0.5]

A round runs as many steps as take ``--cpu-s`` seconds, without and with each level in turn, on one model, one thread
and one process; the first steps of each are not counted. The median over rounds decides; the quartiles tell how far to
trust it. Where other work slows the machine, trust ``in hooks`` more: the share of the time of the traced steps that
passes in functions of the recorder, and so not in the wrappers that call them, which are some microseconds more.
``bytes`` is the size of the trace for each step. The last line is how much the peak of memory grew where tensors had to
be copied.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from migrate.verify.trace.recording.recorder import Recorder
from migrate.verify.trace.session import tracing

# Caches of the interpreter are empty after functions were replaced.
WARM_UP = 10
# Width, layers, sequences, tokens of each; on a quiet machine they take 10, 30, 60 and 150 ms.
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


def share_of_hooks(step: Callable[[], None], number: int) -> float:
    """Return which share of the time of steps passes in the recorder; the clock's own is in it."""
    original, clock = Recorder.guarded, time.perf_counter_ns
    spent_ns = 0

    def guarded(self: Recorder, function: Callable[..., Any], *args: Any) -> Any:
        nonlocal spent_ns
        start = clock()
        result = original(self, function, *args)
        spent_ns += clock() - start
        return result

    Recorder.guarded = guarded  # type: ignore[method-assign]
    try:
        for _ in range(WARM_UP):
            step()
        spent_ns, start = 0, clock()
        for _ in range(number):
            step()
        return spent_ns / (clock() - start)
    finally:
        Recorder.guarded = original  # type: ignore[method-assign]


@dataclass
class Found:
    """What a level costs.

    Attributes:
        shares: What a step takes more, in each round.
        in_hooks: Share of the traced steps that passes in the recorder.
        size: Bytes of the trace for each step.
    """

    shares: list[float] = field(default_factory=list)
    in_hooks: float = 0.0
    size: int = 0


def measure(
    sizes: tuple[int, int, int, int], rounds: int, cpu_s: float, folder: Path
) -> tuple[float, dict[str, Found]]:
    """Return the milliseconds of a bare step, and what each level costs."""
    step = make_step(*sizes)
    number = max(2, round(1000 * cpu_s / timed(step, 3)))
    bare, found = [], {level: Found() for level in GOALS}
    for _ in range(rounds):
        bare.append(timed(step, number))
        for level, one in found.items():
            path = folder / f"{level}.trace"
            with tracing(path, level=level):
                one.shares.append(timed(step, number) / bare[-1] - 1)
            one.size = path.stat().st_size // (number + WARM_UP)
    for level, one in found.items():
        with tracing(folder / "hooks.trace", level=level):
            one.in_hooks = share_of_hooks(step, 5 * number)
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
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--cpu-s", type=float, default=0.5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    table = Table(title=f"Cost of recording, share of the CPU time of a step; {args.rounds} rounds, 1 thread")
    for heading in ("parameters", "level", "bare step, ms", "25 %", "median", "75 %", "in hooks", "bytes", "goal"):
        table.add_column(heading, justify="left" if heading in ("parameters", "level") else "right")
    with tempfile.TemporaryDirectory() as name:
        grown = memory(Path(name))
        for model, sizes in MODELS.items():
            bare, found = measure(sizes, args.rounds, args.cpu_s, Path(name))
            for level, one in found.items():
                least, most = GOALS[level]
                low, middle, high = quantiles(one.shares, n=4)
                goal = "-" if bare < least else f"<= {most:.0%}: {'yes' if middle <= most else 'NO'}"
                cells = [f"{share:.1%}" for share in (low, middle, high, one.in_hooks)]
                table.add_row(model, level, f"{bare:.1f}", *cells, str(one.size), goal)
    Console(width=120).print(table)
    Console().print(grown)


if __name__ == "__main__":
    main()
