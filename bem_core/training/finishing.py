"""The end of a run: what is still to be logged, evaluated and saved, and what `train` returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bem_core.errors import TrainingInterrupted
from bem_core.training import saving

if TYPE_CHECKING:
    from bem_core.training.base_trainer import BaseTrainer

# Why a run may end that goes on later, as if it had not been stopped.
RESUMABLE = ("signal", "max_time_s")


def finish(trainer: BaseTrainer) -> None:
    """Log, evaluate and save the last step, where that was not done."""
    trainer.stepper.check_finite()
    training, step = trainer.config.training, trainer.progress.step
    interrupted = trainer.stop_reason in RESUMABLE
    best = False
    if not interrupted:
        if not trainer.meter.is_empty():
            trainer.write_log()
        wanted = training.eval_strategy != "no" and trainer.eval_dataloader is not None
        best = wanted and trainer.evaluated_at != step and trainer.evaluate_and_judge()
    if best or ((training.save_strategy != "no" or interrupted) and trainer.saved_at != step):
        trainer.save_checkpoint(best=best)
    if trainer.config.output.load_best_model_at_end and not interrupted:
        saving.restore_best(trainer)


def raise_interruption(trainer: BaseTrainer) -> None:
    """Tell who called `train` that a signal came, also when it came after the last step.

    Raises:
        TrainingInterrupted: It did.
    """
    received, step = trainer.signals.received, trainer.progress.step
    if received is None:
        return
    if trainer.stop_reason != "signal":
        what = f"training had ended at step {step}"
    elif trainer.config.training.fast_dev_run:
        what = f"stopped after step {step} of a trial run, which saves nothing"
    else:
        what = f"step {step} is saved in {trainer.output_dir}; --resume auto goes on"
    raise TrainingInterrupted(f"{received.name}: {what}", trainer.signals.exit_code)


def summary(trainer: BaseTrainer) -> dict[str, Any]:
    """Return what `train` returns."""
    progress = trainer.progress
    return {
        "total_steps": progress.step,
        "total_epochs": progress.epoch,
        "total_time_s": trainer.elapsed_s(),
        "stop_reason": trainer.stop_reason,
        "best_metric": progress.best,
        "best_step": progress.best_step if progress.best is not None else None,
        "final_metrics": dict(trainer.history[-1]) if trainer.history else {},
        "eval_history": list(trainer.history),
        "output_dir": str(trainer.output_dir),
    }
