"""Sums that do not depend on the order of their terms, so that shards add up to exactly what one process finds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

# The smallest positive double is 2**-1074, so each double is a whole multiple of it.
_SHIFT = 1074
# Tensors are worked on when this many wait, or this many numbers.
_TENSORS, _NUMBERS = 64, 65536
_LOW_BITS = 26


class Waiting:
    """Small tensors that wait until there are enough of them to be worth the work.

    Reading a tensor makes the host wait for the device, and each operation on one costs microseconds, so both are done
    for many batches at once. The tensors are copied: the model may write its next outputs to the same memory, and a
    small tensor may be a view of a big one.

    Args:
        work: Takes flat tensors, each with what waited, as many as are given to `add`.
    """

    __slots__ = ("_columns", "_numbers", "_work")

    def __init__(self, work: Callable[..., None]) -> None:
        self._work = work
        self._columns: list[list[Tensor]] = []
        self._numbers = 0

    def add(self, *tensors: Tensor) -> None:
        """Let tensors wait; those of a call have as many numbers each."""
        self._columns.append([tensor.detach().clone() for tensor in tensors])
        self._numbers += tensors[0].numel()
        if len(self._columns) >= _TENSORS or self._numbers >= _NUMBERS:
            self.flush()

    def flush(self) -> None:
        """Work on what waits."""
        if self._columns:
            columns, self._columns, self._numbers = self._columns, [], 0
            self._work(*(torch.cat([one.reshape(-1) for one in column]) for column in zip(*columns, strict=True)))


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

    Tensors wait for others before they are read, so they should be small: a number or a few for each sample.
    """

    __slots__ = ("_scaled", "_special", "_waiting")

    def __init__(self) -> None:
        self._scaled = 0
        self._special = 0.0
        self._waiting: dict[tuple[torch.device, int], Waiting] = {}

    def add(self, values: Tensor | Iterable[float], times: int = 1) -> None:
        """Add all elements of ``values``, each ``times`` times."""
        tensor = values if isinstance(values, Tensor) else torch.tensor([*values], dtype=torch.float64)
        waiting = self._waiting.get((tensor.device, times))
        if waiting is None:
            waiting = self._waiting[tensor.device, times] = Waiting(partial(self._read, times))
        waiting.add(tensor)

    def _read(self, times: int, tensor: Tensor) -> None:
        values = tensor.cpu().double().numpy()
        finite = np.isfinite(values)
        if not finite.all():
            self._special += float(values[~finite].sum())
            values = values[finite]
        self._scaled += times * _scaled_sum(values)

    def state(self) -> SumState:
        """Return what `merge` takes."""
        for waiting in self._waiting.values():
            waiting.flush()
        return SumState(self._scaled, self._special)

    def merge(self, state: SumState) -> None:
        """Add the sum of another shard."""
        self._scaled += state.scaled
        self._special += state.special

    def value(self) -> float:
        """Return the sum, rounded once; infinite or nan if a term was."""
        return quotient(self.state(), SumState(1 << _SHIFT))


def _scaled_sum(values: np.ndarray[Any, np.dtype[np.float64]]) -> int:
    """Return the sum of finite numbers times 2**1074.

    Mantissas are added up by exponent, in two halves of 27 and 26 bits, which doubles add without rounding as long as
    there are at most 2**26 of them.
    """
    mantissas, exponents = np.frexp(values)
    wholes = np.ldexp(mantissas, 53).astype(np.int64)
    lowest = int(exponents.min(initial=0))
    places = exponents - lowest
    high = np.bincount(places, weights=wholes >> _LOW_BITS)
    low = np.bincount(places, weights=wholes & (1 << _LOW_BITS) - 1)
    total = 0
    for place in np.flatnonzero((high != 0) | (low != 0)):
        whole = (int(high[place]) << _LOW_BITS) + int(low[place])
        shift = int(place) + lowest - 53 + _SHIFT
        # Numbers that are less than normal ones have zeros where they are cut off.
        total += whole << shift if shift >= 0 else whole >> -shift
    return total


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

    __slots__ = ("_count", "_total", "_weight")

    def __init__(self) -> None:
        self._total, self._weight, self._count = ExactSum(), ExactSum(), 0

    def add(self, values: Tensor | Iterable[float], count: int, times: int = 1) -> None:
        """Add ``count`` numbers, each standing for ``times`` samples."""
        self._total.add(values, times)
        self._count += count * times

    def add_totals(self, totals: Tensor | Iterable[float], weights: Tensor | Iterable[float]) -> None:
        """Add sums and what they are to be divided by, such as losses summed over tokens and numbers of tokens."""
        self._total.add(totals)
        self._weight.add(weights)

    def state(self) -> tuple[SumState, SumState]:
        """Return what `merge` takes."""
        scaled, special = self._weight.state()
        return self._total.state(), SumState(scaled + (self._count << _SHIFT), special)

    def merge(self, state: tuple[SumState, SumState]) -> None:
        """Add what another shard found."""
        self._total.merge(state[0])
        self._weight.merge(state[1])

    @property
    def empty(self) -> bool:
        """Whether there is nothing to divide by."""
        return self.state()[1] == SumState()

    def value(self) -> float:
        """Return the mean; nan when nothing was added."""
        return quotient(*self.state())
