"""Means of losses over the steps between two lines of the log, without waiting for the device at each step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bem_core.training.distributed import Ranks

# Values on a device that are kept before they are added up there, so that not each step needs an operation for it.
_KEPT = 64


class Meter:
    """Sums of named scalars in float64; its state makes a resumed run write the same digits.

    Args:
        device: On a CPU scalars are read at once; on others they stay where they are until the means are asked for.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._host = device.type == "cpu"
        self._values: dict[str, list[Tensor]] = {}
        self._sums: dict[str, float | Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Take the scalars of one step; a name may be missing in some steps."""
        for name, value in values.items():
            if self._host:
                self._sums[name] = self._sums.get(name, 0.0) + value.item()
                self._counts[name] = self._counts.get(name, 0) + 1
            else:
                kept = self._values.setdefault(name, [])
                kept.append(value)
                if len(kept) == _KEPT:
                    self._fold(name)

    def is_empty(self) -> bool:
        """Tell whether there are no values since the last `reset`."""
        return not self._values and not self._sums

    def totals(self) -> dict[str, tuple[float, int]]:
        """Return sum and number of values of each scalar."""
        for name in list(self._values):
            self._fold(name)
        return {name: (float(total), self._counts[name]) for name, total in self._sums.items()}

    def reset(self) -> None:
        """Forget all values."""
        self._values, self._sums, self._counts = {}, {}, {}

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint needs."""
        values = {name: torch.stack([one.reshape(()) for one in kept]) for name, kept in self._values.items() if kept}
        return {"values": values, "sums": dict(self._sums), "counts": dict(self._counts)}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take over the state of a checkpoint."""
        self._values = {name: list(kept.to(self._device)) for name, kept in state["values"].items()}
        self._sums, self._counts = dict(state["sums"]), dict(state["counts"])

    @staticmethod
    def average(states: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return the state of one meter whose means are those of several together, which saw the same steps."""

        def mean(part: str) -> dict[str, Any]:
            return {name: sum(one[part][name] for one in states) / len(states) for name in states[0][part]}

        return {"values": mean("values"), "sums": mean("sums"), "counts": states[0]["counts"]}

    def _fold(self, name: str) -> None:
        kept = self._values.pop(name)
        self._sums[name] = self._sums.get(name, 0.0) + torch.stack([one.reshape(()) for one in kept]).double().sum()
        self._counts[name] = self._counts.get(name, 0) + len(kept)


def mean_over_ranks(losses: Mapping[str, Tensor], ranks: Ranks) -> Mapping[str, Tensor]:
    """Return the mean of each scalar over the ranks, all of which have the same ones."""
    if not ranks.spread or not losses:
        return losses
    means = ranks.sum(torch.stack([value.reshape(()).double() for value in losses.values()])) / ranks.world
    return dict(zip(losses, means.unbind(), strict=True))
