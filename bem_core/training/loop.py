"""The loop: epochs of windows of micro-batches, and what is due between the steps."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from bem_core.errors import TrainingError
from bem_core.training import checks
from bem_core.training.agreement import Agreement
from bem_core.training.batches import Padding, epoch_rng, restore_generators
from bem_core.training.callbacks import Callback
from bem_core.training.finishing import RESUMABLE
from bem_core.training.meter import mean_over_ranks
from bem_core.training.state import Due
from bem_core.training.weights import divisors, num_samples, without_empty

if TYPE_CHECKING:
    from bem_core.training.base_trainer import BaseTrainer

_log = logging.getLogger(__name__)
# Steps in a row whose gradients are too large for float16 before a run gives up; the scale is halved each time.
_MAX_OVERFLOWS = 100


class Loop:
    """Runs a trainer to its end.

    Args:
        trainer: Set up, with its checkpoint loaded.
    """

    def __init__(self, trainer: BaseTrainer) -> None:
        config = trainer.config.training
        self._trainer, self._progress = trainer, trainer.progress
        self._micro = config.progress_unit == "micro_step"
        self._began = self._progress.micro_step
        self._end = config.fast_dev_run or config.max_steps
        self._epochs = None if config.fast_dev_run else config.max_epochs
        self._accumulate = config.gradient_accumulation_steps
        self._spread = trainer.ranks.spread
        self._drop = config.last_window == "drop"
        # Micro-steps that are left at the end are too few for a step, and it is steps that are wanted whole.
        self._spare = self._accumulate - 1 if self._drop and self._micro else 0
        self._agreement = Agreement(trainer)
        clock = self._agreement.clock
        self._deadline = clock() + config.max_time_s if config.max_time_s else None
        self._log_due = Due("steps", 1 if config.fast_dev_run else config.logging_steps)
        self._eval_due = Due(config.eval_strategy, config.eval_steps, config.eval_start, config.eval_interval_s, clock)
        self._save_due = Due(config.save_strategy, config.save_steps, None, config.save_interval_s, clock)
        named = trainer.config.logging.metrics_to_log and trainer.overrides("_metrics")
        self._metrics_due = Due("steps" if named else "no", trainer.config.logging.log_frequency)
        self._on_step = [one for one in trainer.callbacks if type(one).on_step_end is not Callback.on_step_end]
        self._has_hook = trainer.overrides("_on_step_end")
        self._evaluate_later = self._save_later = False
        self._overflows = 0
        self._reason: str | None = None
        self._weights: list[float] = []
        self._next = self._next_due(self._count())

    def run(self) -> str:
        """Train until something says that it is enough; return what that was."""
        trainer, progress = self._trainer, self._progress
        if self._eval_due.at_start and progress.step == 0 and trainer.evaluated_at < 0 and self._evaluate():
            trainer.save_checkpoint(best=True)
        while (reason := self._over()) is None:
            batches = self._begin_epoch()
            for window in self._windows(batches):
                self._step(window)
                reason = self._reason
                # Where only whole epochs can be resumed, one that is to go on later is finished first.
                if reason is not None and not (trainer.source.whole_epochs and reason in RESUMABLE):
                    return reason
            if not progress.batch:
                raise TrainingError(f"epoch {progress.epoch}: the training data gave {self._too_little()}")
            self._end_epoch()
        return reason

    def _over(self) -> str | None:
        if (reason := self._agreement.stop_reason()) is not None:
            return reason
        if self._end is not None and self._count() + self._spare >= self._end:
            return "max_steps"
        if self._epochs is not None and self._progress.epoch >= self._epochs:
            return "max_epochs"
        # One step at least, so that a run that is resumed again and again gets somewhere.
        if (
            self._deadline is not None
            and self._progress.micro_step > self._began
            and self._agreement.clock() >= self._deadline
        ):
            return "max_time_s"
        return None

    def _count(self) -> int:
        return self._progress.micro_step if self._micro else self._progress.step

    def _too_little(self) -> str:
        few = f"fewer than the {self._accumulate} batches that a step takes with last_window: drop"
        return few if self._drop and self._accumulate > 1 else "no batch (can it be iterated over only once?)"

    def _begin_epoch(self) -> Iterator[Any]:
        trainer, progress = self._trainer, self._progress
        rng, trainer.resumed_rng = trainer.resumed_rng, None
        if progress.batch == 0:
            if rng is not None:
                restore_generators(trainer.source, rng)
            trainer.epoch_rng = epoch_rng(trainer.source)
            return trainer.begin_batches()
        batches = trainer.begin_batches()
        if rng is not None:
            # Only now: making the iterator draws from the generators, and so does going to its place.
            restore_generators(trainer.source, rng)
        return batches

    def _windows(self, batches: Iterator[Any]) -> Iterator[list[Any]]:
        while True:
            size = self._accumulate
            if self._micro and self._end is not None:
                size = min(size, self._end - self._progress.micro_step)
            window = list(islice(batches, size))
            short = len(window) < size
            if self._spread:
                self._weights = self._weigh(window)
                self._agreement.exchange(len(window), sum(self._weights))
                window = without_empty(window, self._weights)
            if not window or (short and self._drop):
                return
            yield window

    def _step(self, window: list[Any]) -> None:
        trainer, progress = self._trainer, self._progress
        before = progress.micro_step if self._micro else progress.step
        divided_by = None
        if self._spread or len(window) > 1:
            divided_by = self._divisors(window)
        if self._spread or trainer.move is not None:
            window = [self._ready(batch) for batch in window]
        outcome = trainer.stepper.run(window, divided_by, progress.step)
        progress.batch += len(window)
        progress.micro_step += len(window)
        for batch in window:
            trainer.samples_seen += num_samples(batch)
        if outcome.stepped:
            progress.step += 1
            self._overflows = 0
            trainer.meter.add(outcome.losses)
            trainer.grad_norm = outcome.grad_norm
        else:
            self._skip()
        if self._has_hook:
            trainer._on_step_end(outcome.losses)
        for callback in self._on_step:
            callback.on_step_end(trainer, outcome)
        if trainer.rollback is not None and outcome.stepped:
            trainer.rollback.observe(progress.step, mean_over_ranks(outcome.losses, trainer.ranks))
        if trainer.signals.received is not None and not self._spread:
            trainer.request_stop("signal")
        now = progress.micro_step if self._micro else progress.step
        if now >= self._next or trainer.stop_reason is not None or self._deadline is not None:
            self._do_due(before, now)

    def _skip(self) -> None:
        self._progress.skipped += 1
        self._overflows += 1
        if self._overflows > max(_MAX_OVERFLOWS, self._trainer.config.training.max_non_finite_steps):
            raise TrainingError(f"step {self._progress.step + 1}: {self._overflows} steps in a row could not be done")

    def _ready(self, batch: Any) -> Any:
        batch = batch.batch if isinstance(batch, Padding) else batch
        return batch if self._trainer.move is None else self._trainer.move(batch)

    def _divisors(self, window: Sequence[Any]) -> list[float] | None:
        if self._spread:
            return divisors(self._weights, self._agreement.weight, self._trainer.ranks.world)
        weights = self._weigh(window)
        return divisors(weights, sum(weights))

    def _weigh(self, window: Sequence[Any]) -> list[float]:
        weight = self._trainer._loss_weight
        return [0.0 if isinstance(one, Padding) else checks.weight_of(weight(one)) for one in window]

    def _do_due(self, before: int, now: int) -> None:
        """Do what is due after a step: log, evaluation, checkpoint, in this order."""
        self._reason = self._over()
        last = self._reason is not None and self._reason not in RESUMABLE
        if self._log_due.at(before, now) or (last and not self._trainer.meter.is_empty()):
            self._trainer.write_log()
        if self._metrics_due.at(before, now):
            self._trainer.write_metrics()
        self._evaluate_later |= self._eval_due.at(before, now) or (last and self._eval_due.ever)
        self._save_later |= self._save_due.at(before, now) or (last and self._save_due.ever)
        if last or not self._trainer.source.whole_epochs:
            self._catch_up()
        self._reason = self._over()
        self._next = self._next_due(now)

    def _next_due(self, now: int) -> int:
        every = (self._log_due, self._metrics_due, self._eval_due, self._save_due)
        dues = [due.next_after(now) for due in every if due.watches]
        return min(dues) if self._end is None else min(*dues, self._end - self._spare)

    def _evaluate(self) -> bool:
        best = self._trainer.eval_dataloader is not None and self._trainer.evaluate_and_judge()
        self._agreement.settle()
        return best

    def _catch_up(self) -> None:
        best = self._evaluate_later and self._evaluate()
        if self._save_later or best:
            self._trainer.save_checkpoint(best=best)
        self._evaluate_later = self._save_later = False

    def _end_epoch(self) -> None:
        trainer, progress = self._trainer, self._progress
        progress.epoch += 1
        progress.batch = 0
        trainer.stepper.next_epoch()
        self._evaluate_later |= self._eval_due.by_epoch
        self._save_later |= self._save_due.by_epoch
        self._catch_up()
