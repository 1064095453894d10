"""The loop: epochs of windows of micro-batches, and what is due between the steps."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from bem_core.errors import TrainingError
from bem_core.training.batches import Padding, epoch_rng
from bem_core.training.callbacks import Callback
from bem_core.training.state import Due
from bem_core.training.step import Outcome
from bem_core.training.weights import num_samples, scales
from bem_core.utils.seeding import set_rng_state

if TYPE_CHECKING:
    from bem_core.training.base_trainer import BaseTrainer

_log = logging.getLogger(__name__)
# Steps in a row whose gradients are too large for float16 before a run gives up; the scale is halved each time.
_MAX_OVERFLOWS = 100
# Why a run may end that goes on later; where only whole epochs can be resumed, it ends after one.
_RESUMABLE = ("signal", "max_time_s")


class Loop:
    """Runs a trainer to its end.

    Args:
        trainer: Set up, with its checkpoint loaded.
    """

    def __init__(self, trainer: BaseTrainer) -> None:
        config = trainer.config.training
        self._trainer, self._progress = trainer, trainer.progress
        self._micro = config.progress_unit == "micro_step"
        self._end = config.fast_dev_run or config.max_steps
        self._epochs = None if config.fast_dev_run else config.max_epochs
        self._accumulate = config.gradient_accumulation_steps
        self._spread = trainer.ranks.spread
        self._drop = config.last_window == "drop"
        self._deadline = time.monotonic() + config.max_time_s if config.max_time_s else None
        self._log_due = Due("steps", 1 if config.fast_dev_run else config.logging_steps)
        self._eval_due = Due(config.eval_strategy, config.eval_steps, config.eval_start, config.eval_interval_s)
        self._save_due = Due(config.save_strategy, config.save_steps, None, config.save_interval_s)
        self._on_step = [one for one in trainer.callbacks if type(one).on_step_end is not Callback.on_step_end]
        self._has_hook = trainer.overrides("_on_step_end")
        self._save_later = False
        self._overflows = 0
        self._reason: str | None = None
        self._next = self._next_due(self._count())

    def run(self) -> str:
        """Train until something says that it is enough; return what that was."""
        trainer, progress = self._trainer, self._progress
        if progress.step == 0 and self._eval_due.at(-1, 0):
            self._evaluate()
        while (reason := self._over()) is None:
            batches = self._begin_epoch()
            for window in self._windows(batches):
                self._step(window)
                reason = self._reason
                if reason is not None and not (trainer.source.whole_epochs and reason in _RESUMABLE):
                    return reason
            if not progress.batch:
                raise TrainingError("the training data gave no batch")
            self._end_epoch()
        return reason

    def _over(self) -> str | None:
        trainer = self._trainer
        if trainer.stop_reason is not None:
            return trainer.stop_reason
        if self._end is not None and self._count() >= self._end:
            return "max_steps"
        if self._epochs is not None and self._progress.epoch >= self._epochs:
            return "max_epochs"
        if self._deadline is not None and time.monotonic() >= self._deadline:
            return "max_time_s"
        return None

    def _count(self) -> int:
        return self._progress.micro_step if self._micro else self._progress.step

    def _begin_epoch(self) -> Iterator[Any]:
        trainer, progress = self._trainer, self._progress
        rng, trainer.resumed_rng = trainer.resumed_rng, None
        if progress.batch == 0:
            if rng is not None:
                set_rng_state(rng)
            trainer.epoch_rng = epoch_rng(trainer.source)
            return trainer.begin_batches()
        batches = trainer.begin_batches()
        if rng is not None:
            # Only now: making the iterator draws from the generators, and so does going to its place.
            set_rng_state(rng)
        return batches

    def _windows(self, batches: Iterator[Any]) -> Iterator[list[Any]]:
        while True:
            size = self._accumulate
            if self._micro and self._end is not None:
                size = min(size, self._end - self._progress.micro_step)
            window = list(islice(batches, size))
            short = len(window) < size
            if self._trainer.ranks.spread:
                self._agree_on_size(len(window))
            if not window or (short and self._drop):
                return
            yield window

    def _agree_on_size(self, size: int) -> None:
        sizes = self._trainer.ranks.sum_numbers([size, size * size])
        world = self._trainer.ranks.world
        if sizes[1] * world != sizes[0] * sizes[0]:
            raise TrainingError(
                f"rank {self._trainer.ranks.rank} has {size} micro-batches for this step and another rank has not: "
                "give the ranks loaders of one length, or let data.randomness: keyed deal out the samples"
            )

    def _step(self, window: list[Any]) -> None:
        trainer, progress = self._trainer, self._progress
        before = progress.micro_step if self._micro else progress.step
        factors = None
        if self._spread or len(window) > 1:
            factors = self._factors(window)
        if self._spread or trainer.move is not None:
            window = [self._ready(batch) for batch in window]
        outcome = trainer.stepper.run(window, factors, progress.step)
        progress.batch += len(window)
        progress.micro_step += len(window)
        for batch in window:
            trainer.samples_seen += num_samples(batch)
        if outcome.stepped:
            progress.step += 1
            self._overflows = 0
        else:
            self._skip(outcome)
        trainer.meter.add(outcome.losses)
        trainer.grad_norm = outcome.grad_norm
        if self._has_hook:
            trainer._on_step_end(outcome.losses)
        for callback in self._on_step:
            callback.on_step_end(trainer, outcome)
        if trainer.rollback is not None:
            trainer.rollback.observe(progress.step, outcome.losses)
        if trainer.signals.received is not None and not self._spread:
            trainer.request_stop("signal")
        now = progress.micro_step if self._micro else progress.step
        if now >= self._next or trainer.stop_reason is not None or self._deadline is not None:
            self._do_due(before, now)

    def _skip(self, outcome: Outcome) -> None:
        self._progress.skipped += 1
        self._overflows += 1
        if self._overflows > max(_MAX_OVERFLOWS, self._trainer.config.training.max_non_finite_steps):
            raise TrainingError(f"step {self._progress.step + 1}: {self._overflows} steps in a row could not be done")

    def _ready(self, batch: Any) -> Any:
        batch = batch.batch if isinstance(batch, Padding) else batch
        return batch if self._trainer.move is None else self._trainer.move(batch)

    def _factors(self, window: Sequence[Any]) -> list[float] | None:
        trainer = self._trainer
        weights = [0.0 if isinstance(one, Padding) else float(trainer._loss_weight(one)) for one in window]
        if not trainer.ranks.spread:
            return scales(weights, sum(weights))
        asked = float(trainer.signals.received is not None)
        total, stop = trainer.ranks.sum_numbers([sum(weights), asked])
        if stop:
            trainer.request_stop("signal")
        return scales(weights, total, trainer.ranks.world)

    def _do_due(self, before: int, now: int) -> None:
        """Do what is due after a step: log, evaluation, checkpoint, in this order."""
        self._reason = self._over()
        last = self._reason is not None and self._reason not in _RESUMABLE
        if self._log_due.at(before, now) or last:
            self._trainer.write_log()
        best = (self._eval_due.at(before, now) or (last and self._eval_due.ever)) and self._evaluate()
        if self._save_due.at(before, now) or best or (last and self._save_due.ever):
            self._save(best)
        self._reason = self._over()
        self._next = self._next_due(now)

    def _next_due(self, now: int) -> int:
        dues = [due.next_after(now) for due in (self._log_due, self._eval_due, self._save_due) if due.watches]
        return min(dues) if self._end is None else min(*dues, self._end)

    def _evaluate(self) -> bool:
        return self._trainer.eval_dataloader is not None and self._trainer.evaluate_and_judge()

    def _save(self, best: bool) -> None:
        if self._trainer.source.whole_epochs:
            self._save_later = True
        else:
            self._trainer.save_checkpoint(best=best)

    def _end_epoch(self) -> None:
        trainer, progress = self._trainer, self._progress
        progress.epoch += 1
        progress.batch = 0
        trainer.stepper.next_epoch()
        best = self._eval_due.by_epoch and self._evaluate()
        if self._save_due.by_epoch or best or self._save_later:
            self._save_later = False
            trainer.save_checkpoint(best=best)
