"""What the ranks tell each other before each step, so that all of them do the same things after the same steps."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bem_core.errors import TrainingError
from bem_core.training.signals import SIGNALS

if TYPE_CHECKING:
    from bem_core.training.base_trainer import BaseTrainer


class Agreement:
    """Signals, requests to stop, the time and the weights of micro-batches, as all ranks together see them.

    One process asks nobody: it has its own clock and its own reasons to stop.

    Args:
        trainer: Whose run it is.
    """

    def __init__(self, trainer: BaseTrainer) -> None:
        self._trainer, self._ranks = trainer, trainer.ranks
        self._now: float = trainer.ranks.broadcast(time.monotonic())
        self._reason: str | None = None
        self.weight = 0.0

    def clock(self) -> float:
        """Return seconds that only grow: on several ranks, those of the first one when they last told each other."""
        return self._now if self._ranks.spread else time.monotonic()

    def stop_reason(self) -> str | None:
        """Return why to stop after this step; None for no reason."""
        return self._reason if self._ranks.spread else self._trainer.stop_reason

    def exchange(self, size: int, weight: float) -> None:
        """Tell the other ranks about a step; all of them have to call it before each one.

        Args:
            size: Micro-batches of this rank.
            weight: What they count; `weight` then has the sum over the ranks.

        Raises:
            TrainingError: Ranks have different numbers of micro-batches.
        """
        if not self._ranks.spread:
            self.weight = weight
            return
        heard = [float(self._trainer.signals.received == one) for one in SIGNALS]
        now = time.monotonic() if self._ranks.is_main else 0.0
        stop = float(self._trainer.stop_reason is not None)
        told = self._ranks.sum_numbers([size, size * size, weight, now, stop, *heard])
        self.weight, self._now = told[2], told[3]
        self._check_sizes(size, *told[:2])
        self._stop_with(told[4], told[5:])

    def settle(self) -> None:
        """Agree on whether to stop, after something that may have asked for it on some ranks only."""
        if self._ranks.spread:
            (asked,) = self._ranks.sum_numbers([float(self._trainer.stop_reason is not None)])
            self._stop_with(asked, [])

    def _check_sizes(self, size: int, total: float, squares: float) -> None:
        if squares * self._ranks.world != total * total:
            raise TrainingError(
                f"rank {self._ranks.rank} has {size} micro-batches for this step and another rank has not: "
                "give the ranks loaders of one length, or let data.randomness: keyed deal out the samples"
            )

    def _stop_with(self, asked: float, heard: list[float]) -> None:
        number = next((one for one, count in zip(SIGNALS, heard, strict=False) if count), None)
        if number is not None:
            # So that each rank ends with it, also one that did not get it.
            self._trainer.signals.take(number)
            self._trainer.request_stop("signal")
        if asked or number is not None:
            reasons = self._ranks.gather(self._trainer.stop_reason)
            self._reason = self._reason or next(one for one in reasons if one is not None)
            self._trainer.stop_reason = self._reason
