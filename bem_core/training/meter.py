"""Means of losses over the steps between two lines of the log, without waiting for the device at each step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

# Values that are kept apart before they are added up; few enough to take no memory, many enough to take no time.
_KEPT = 64


class Meter:
    """Sums of named scalars in float64; its state makes a resumed run write the same digits."""

    def __init__(self) -> None:
        self._values: dict[str, list[Tensor]] = {}
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Take the scalars of one step; a name may be missing in some steps."""
        for name, value in values.items():
            kept = self._values.get(name)
            if kept is None:
                self._values[name] = [value]
            else:
                kept.append(value)
                if len(kept) >= _KEPT:
                    self._fold(name)

    def is_empty(self) -> bool:
        """Tell whether there are no values since the last `reset`."""
        return not self._values and not self._sums

    def totals(self) -> dict[str, tuple[Tensor, int]]:
        """Return sum and number of values of each scalar."""
        for name in list(self._values):
            self._fold(name)
        return {name: (self._sums[name], self._counts[name]) for name in self._sums}

    def reset(self) -> None:
        """Forget all values."""
        self._values, self._sums, self._counts = {}, {}, {}

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint needs."""
        values = {
            name: torch.stack([one.detach().reshape(()) for one in kept]) for name, kept in self._values.items() if kept
        }
        return {"values": values, "sums": dict(self._sums), "counts": dict(self._counts)}

    def load(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Take over the state of a checkpoint."""
        self._values = {name: list(kept.to(device)) for name, kept in state["values"].items()}
        self._sums = {name: total.to(device) for name, total in state["sums"].items()}
        self._counts = dict(state["counts"])

    def _fold(self, name: str) -> None:
        kept = self._values[name]
        if not kept:
            return
        total = torch.stack([one.reshape(()) for one in kept]).double().sum()
        self._sums[name] = self._sums[name] + total if name in self._sums else total
        self._counts[name] = self._counts.get(name, 0) + len(kept)
        self._values[name] = []
