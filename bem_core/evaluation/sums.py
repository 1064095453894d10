"""Sums that do not depend on the order of their terms, so that shards add up to exactly what one process finds."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

# The smallest positive double is 2**-1074, so each double is a whole multiple of it.
_SHIFT = 1074
# Tensors are read when this many wait, or this many numbers: reading one makes the host wait for the device.
_TENSORS, _NUMBERS = 64, 65536


class SumState(NamedTuple):
    """What a sum knows; it can be pickled.

    Attributes:
        scaled: Sum of the finite terms, times 2**1074.
        special: Sum of infinities and nans.
    """

    scaled: int = 0
    special: float = 0.0


class ExactSum:
    """Sum of numbers without rounding; only `value` rounds, once.

    Tensors are kept for a while and read in one go, so they should be small: a number or a few for each sample.
    """

    __slots__ = ("_pending", "_scaled", "_special", "_waiting")

    def __init__(self) -> None:
        self._scaled = 0
        self._special = 0.0
        self._pending: list[tuple[Tensor, int]] = []
        self._waiting = 0

    def add(self, values: Tensor | Iterable[float], times: int = 1) -> None:
        """Add all elements of ``values``, each ``times`` times."""
        if not isinstance(values, Tensor):
            self._add(values, times)
            return
        self._pending.append((values.detach(), times))
        self._waiting += values.numel()
        if len(self._pending) >= _TENSORS or self._waiting >= _NUMBERS:
            self._drain()

    def _drain(self) -> None:
        pending, self._pending, self._waiting = self._pending, [], 0
        for times in {times for _, times in pending}:
            same = [tensor.reshape(-1) for tensor, other in pending if other == times]
            self._add(torch.cat(same).tolist(), times)

    def _add(self, values: Iterable[float], times: int) -> None:
        scaled = 0
        for value in values:
            number = value if isinstance(value, int) else float(value)
            if not math.isfinite(number):
                self._special += number
                continue
            numerator, denominator = number.as_integer_ratio()
            scaled += numerator << (_SHIFT + 1 - denominator.bit_length())
        self._scaled += scaled * times

    def state(self) -> SumState:
        """Return what `merge` takes."""
        self._drain()
        return SumState(self._scaled, self._special)

    def merge(self, state: SumState) -> None:
        """Add the sum of another shard."""
        self._scaled += state.scaled
        self._special += state.special

    def value(self) -> float:
        """Return the sum, rounded once; infinite or nan if a term was."""
        return quotient(self.state(), SumState(1 << _SHIFT))


def quotient(upper: SumState, lower: SumState) -> float:
    """Divide two sums, rounded once; division by zero gives nan."""
    if lower.special or not lower.scaled:
        return math.nan
    if upper.special:
        return upper.special if lower.scaled > 0 else -upper.special
    try:
        return upper.scaled / lower.scaled
    except OverflowError:
        return math.inf if (upper.scaled > 0) == (lower.scaled > 0) else -math.inf


class Mean:
    """Mean of numbers with weights, such as a loss over tokens; exact until `value` rounds."""

    __slots__ = ("_total", "_weight")

    def __init__(self) -> None:
        self._total, self._weight = ExactSum(), ExactSum()

    def add(self, values: Tensor | Iterable[float], count: int, times: int = 1) -> None:
        """Add ``count`` numbers, each standing for ``times`` samples."""
        self._total.add(values, times)
        self._weight.add((count,), times)

    def add_totals(self, totals: Tensor | Iterable[float], weights: Tensor | Iterable[float]) -> None:
        """Add sums and what they are to be divided by, such as losses summed over tokens and numbers of tokens."""
        self._total.add(totals)
        self._weight.add(weights)

    def state(self) -> tuple[SumState, SumState]:
        """Return what `merge` takes."""
        return self._total.state(), self._weight.state()

    def merge(self, state: tuple[SumState, SumState]) -> None:
        """Add what another shard found."""
        self._total.merge(state[0])
        self._weight.merge(state[1])

    @property
    def empty(self) -> bool:
        """Whether there is nothing to divide by."""
        return self._weight.state() == SumState()

    def value(self) -> float:
        """Return the mean; nan when nothing was added."""
        return quotient(*self.state())
