"""How long the model takes for a batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

from bem_core.evaluation.result import PERCENTILES, LatencyStats
from bem_core.evaluation.sums import ExactSum
from bem_core.utils.device import synchronize

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Timings:
    """What one rank measured; it can be pickled.

    Attributes:
        seconds: Time of each batch.
        num_samples: Samples in them.
        num_tokens: Tokens in them; None where the outputs do not say.
    """

    seconds: list[float] = field(default_factory=list)
    num_samples: int = 0
    num_tokens: int | None = None


class Stopwatch:
    """Times calls between two waits for the device, after some that only warm up.

    Args:
        device: The device that is waited for.
        warmup: Calls at the beginning that do not count.
    """

    def __init__(self, device: torch.device, warmup: int) -> None:
        self._device, self._warmup = device, warmup
        self._seconds: list[float] = []
        self._num_samples = 0
        self._tokens: ExactSum | None = None

    def call(self, function: Callable[[], T]) -> T:
        """Call ``function`` and time it."""
        synchronize(self._device)
        start = time.perf_counter()
        made = function()
        synchronize(self._device)
        self._seconds.append(time.perf_counter() - start)
        return made

    def count(self, num_samples: int, num_tokens: Tensor | None) -> None:
        """Say what the last batch had; ``num_tokens`` holds a number for each sample."""
        if self._warmup > 0:
            self._warmup -= 1
            self._seconds.clear()
            return
        self._num_samples += num_samples
        if num_tokens is not None:
            self._tokens = self._tokens or ExactSum()
            self._tokens.add(num_tokens)

    def timings(self) -> Timings:
        """Return what was measured so far."""
        return Timings(self._seconds, self._num_samples, int(self._tokens.value()) if self._tokens else None)


def latency_stats(ranks: Sequence[Timings]) -> LatencyStats | None:
    """Put the times of all ranks together; None where nothing was timed."""
    timed = [rank for rank in ranks if rank.seconds]
    seconds = torch.tensor([one for rank in timed for one in rank.seconds], dtype=torch.float64)
    if not timed:
        return None
    levels = torch.tensor([int(name[1:]) / 100 for name in PERCENTILES], dtype=torch.float64)
    p50, p90, p95, p99 = (1000 * torch.quantile(seconds, levels)).tolist()
    tokens = [rank.num_tokens / sum(rank.seconds) for rank in timed if rank.num_tokens is not None]
    return LatencyStats(
        len(seconds),
        1000 * seconds.mean().item(),
        p50,
        p90,
        p95,
        p99,
        sum(rank.num_samples / sum(rank.seconds) for rank in timed),
        sum(tokens) if tokens else None,
    )
