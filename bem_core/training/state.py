"""How far a run has come: counters, the best evaluation, patience, and what is due at a step."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bem_core.config.training_config import Strategy
from bem_core.errors import TrainingError, nearest


@dataclass(slots=True)
class Progress:
    """Counters of a run; all of them are in its checkpoints.

    Attributes:
        step: Updates of the optimizer.
        micro_step: Micro-batches.
        epoch: Number of the epoch, from 0.
        batch: Micro-batches of this epoch so far.
        samples: Samples of this epoch so far, on all ranks.
        skipped: Steps that were left out because something was not finite.
        best: The best value of the metric that the best checkpoint is chosen by; None before the first one.
        best_step: Where it was reached.
        waited: Evaluations since the last improvement.
        elapsed_s: Seconds of training in earlier processes.
    """

    step: int = 0
    micro_step: int = 0
    epoch: int = 0
    batch: int = 0
    samples: int = 0
    skipped: int = 0
    best: float | None = None
    best_step: int = 0
    waited: int = 0
    elapsed_s: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return all counters."""
        return dataclasses.asdict(self)

    def load(self, values: dict[str, Any]) -> None:
        """Take over the counters of a checkpoint."""
        for name, value in values.items():
            setattr(self, name, value)


class Due:
    """Says at which steps something is done: from ``start`` on, every ``interval`` steps, or by the clock.

    Args:
        strategy: ``steps``, ``time``; ``epoch`` and ``no`` are never due at a step.
        interval: Steps between.
        start: First step; by default ``interval``.
        interval_s: Seconds between, for ``time``.
        clock: Seconds that only grow.

    Attributes:
        by_epoch: Whether it is done at the end of each epoch.
        watches: Whether it can be due at a step.
        ever: Whether it is done at all, and so at the end of a run too.
        at_start: Whether it is done before the first step too.
    """

    def __init__(
        self,
        strategy: Strategy,
        interval: int,
        start: int | None = None,
        interval_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.by_epoch = strategy == "epoch"
        self.ever = strategy != "no"
        self.at_start = strategy == "steps" and start == 0
        self._interval = interval if strategy == "steps" else 0
        self._start = interval if start is None else start
        self._interval_s = interval_s if strategy == "time" else None
        self._clock, self._last = clock, clock()
        self.watches = bool(self._interval) or self._interval_s is not None

    def next_after(self, now: int) -> int:
        """Return the first count after ``now`` at which it is due; by the clock it has to be asked each time."""
        if not self._interval:
            return now + 1
        return self._start if now < self._start else now + self._interval - (now - self._start) % self._interval

    def at(self, before: int, now: int) -> bool:
        """Tell whether it is due now.

        Args:
            before: Count at the last call; counts can grow by more than one.
            now: Count now.
        """
        if self._interval:
            if now < self._start:
                return False
            return (
                before < self._start or (now - self._start) // self._interval > (before - self._start) // self._interval
            )
        if self._interval_s is not None and self._clock() - self._last >= self._interval_s:
            self._last = self._clock()
            return True
        return False


@dataclass(frozen=True, slots=True)
class Judge:
    """Says whether an evaluation is the best so far, and when to stop waiting for a better one.

    Attributes:
        metric: Its name.
        required: Whether an evaluation without it is an error.
        greater_is_better: Its direction.
        threshold: What counts as an improvement.
        patience: Evaluations without one after which training ends; None for never.
        same: Returns one name for all spellings of a metric.
    """

    metric: str
    required: bool = False
    greater_is_better: bool = False
    threshold: float = 0.0
    patience: int | None = None
    same: Callable[[str], str] = str

    def value(self, metrics: Mapping[str, float]) -> float | None:
        """Return the value that decides; None where an evaluation has none and needs none.

        Raises:
            TrainingError: The evaluation lacks it.
        """
        if self.metric in metrics:
            return metrics[self.metric]
        for name, value in metrics.items():
            if self.same(name) == self.same(self.metric):
                return value
        if not self.required:
            return None
        hint = nearest(self.metric, metrics) or f"; it has {', '.join(metrics) or 'none'}"
        raise TrainingError(f"output.metric_for_best_model: the evaluation has no metric {self.metric!r}{hint}")

    def update(self, progress: Progress, value: float) -> bool:
        """Take an evaluation into account; tell whether it is the best. A value that is not finite never is."""
        gain = math.inf if progress.best is None else value - progress.best
        gain = gain if self.greater_is_better or progress.best is None else -gain
        if math.isfinite(value) and gain > self.threshold:
            progress.best, progress.best_step, progress.waited = value, progress.step, 0
            return True
        progress.waited += 1
        return False

    def gives_up(self, progress: Progress) -> bool:
        """Tell whether patience has run out."""
        return self.patience is not None and progress.waited >= self.patience
