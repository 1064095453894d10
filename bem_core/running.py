"""One run from its trainer to its results: training, the last evaluation, quality gates, ``results.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from bem_core.errors import CheckpointError
from bem_core.evaluation import measured
from bem_core.evaluation.costs import count_flops, count_parameters
from bem_core.evaluation.gates import FAIL, NOT_MEASURED, GateReport, check_experiment
from bem_core.evaluation.modes import evaluation_mode
from bem_core.evaluation.result import plain
from bem_core.training.run_folder import write_json
from bem_core.utils.device import move, peak_memory_bytes
from bem_core.utils.seeding import rng_fence

if TYPE_CHECKING:
    from bem_core.training.base_trainer import BaseTrainer

RESULTS, EVALUATION = "results.json", "evaluation.json"
# What an evaluation record says besides its metrics.
_PLACE = ("step", "epoch")


@dataclass(frozen=True, slots=True)
class Report:
    """What a run came to.

    Attributes:
        head: What was run.
        training: What `BaseTrainer.train` returned; empty where nothing was trained.
        metrics: Of the last evaluation, by name.
        measured: Time, memory and size.
        gates: Quality gates and budget.
        path: Where it was written; None for a trial run.
    """

    head: Mapping[str, Any]
    training: Mapping[str, Any]
    metrics: Mapping[str, float]
    measured: Mapping[str, float]
    gates: GateReport = field(default_factory=GateReport)
    path: Path | None = None

    @property
    def failed(self) -> bool:
        """Whether a quality gate failed; one that was not measured did not."""
        return bool(self.gates.having(FAIL))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON; numbers that are not finite are texts."""
        parts = {"training": self.training, "metrics": self.metrics, "measured": self.measured}
        found: dict[str, Any] = plain({**self.head, **parts, "gates": self.gates.to_dict()})
        return found

    def __str__(self) -> str:
        """Return what a person wants to see at the end."""
        told = [f"{self.head['name']}, seed {self.head['seed']}: {self._course()}"]
        width = max(map(len, self.metrics), default=0)
        told += [f"{name:{width}}  {value:.6g}" for name, value in self.metrics.items()]
        told += [str(self.gates)] if self.gates.results else []
        return "\n".join([*told, *([f"written to {self.path}"] if self.path else [])])

    def _course(self) -> str:
        if not self.training:
            return f"evaluated {self.head['checkpoint']}"
        return "{total_steps} steps in {total_time_s:.1f} s, until {stop_reason}".format(**self.training)


def train_and_evaluate(trainer: BaseTrainer) -> Report:
    """Train to the end, evaluate what came out, hold it against the quality gates, write ``results.json``.

    A trial run (``training.fast_dev_run``) is held against nothing and writes nothing.

    Raises:
        TrainingInterrupted: A signal ended it; nothing is written then.
        BemError: The run cannot begin or go on.
    """
    summary = trainer.train()
    metrics = _metrics(trainer, summary)
    training = {key: value for key, value in summary.items() if key not in ("eval_history", "final_metrics")}
    if trainer.config.training.fast_dev_run:
        return Report(_head(trainer), training, metrics, {})
    return _finished(trainer, training, metrics, trainer.output_dir / RESULTS, _head(trainer))


def evaluate_only(trainer: BaseTrainer, resume: str | None) -> Report:
    """Evaluate a checkpoint, hold it against the quality gates, write ``evaluation.json``.

    Args:
        trainer: Of the run.
        resume: The checkpoint; ``auto`` for the newest. By default the one that training ends with: the best with
            ``output.load_best_model_at_end``, else the newest.

    Raises:
        CheckpointError: There is no checkpoint.
        BemError: It cannot be evaluated.
    """
    path = Path(resume) if resume not in (None, "auto") else _checkpoint(trainer, resume is None)
    trainer.load_checkpoint(path)
    head = _head(trainer) | {"checkpoint": str(path)}
    return _finished(trainer, {}, trainer.evaluate(), trainer.output_dir / EVALUATION, head)


def _checkpoint(trainer: BaseTrainer, as_training: bool) -> Path:
    folder = trainer.checkpoints
    best = folder.best() if as_training and trainer.config.output.load_best_model_at_end else None
    entry = best or folder.latest()
    if entry is None:
        raise CheckpointError(f"{folder.root}: there is no checkpoint to evaluate")
    return entry.path


def _metrics(trainer: BaseTrainer, summary: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics of the model as it is now; the last evaluation is good for that if nothing came after it."""
    last = summary["final_metrics"]
    if last.get("step") == trainer.progress.step and not trainer.config.output.load_best_model_at_end:
        return {name: value for name, value in last.items() if name not in _PLACE}
    return trainer.evaluate() if trainer.eval_dataloader is not None else {}


def _head(trainer: BaseTrainer) -> dict[str, Any]:
    config = trainer.config
    return {
        "name": config.name,
        "experiment_type": config.experiment_type,
        "variant_id": config.variant_id,
        "seed": config.training.seed,
        "component": f"{type(trainer).__module__}.{type(trainer).__qualname__}",
    }


def _finished(
    trainer: BaseTrainer, training: dict[str, Any], metrics: dict[str, float], path: Path, head: dict[str, Any]
) -> Report:
    found = _measured(trainer, training)
    gates = check_experiment(trainer.config, metrics | found)
    if any(one.status == NOT_MEASURED and measured.resolve(one.metric)[0] == "flops" for one in gates.results):
        found |= _flops(trainer)
        gates = check_experiment(trainer.config, metrics | found)
    report = Report(head, training, metrics, found, gates, path)
    with trainer.ranks.together():
        if trainer.ranks.is_main:
            write_json(path, report.to_dict())
    return report


def _measured(trainer: BaseTrainer, training: Mapping[str, Any]) -> dict[str, float]:
    peak = float(peak_memory_bytes(trainer.device))
    found = {"num_parameters": float(count_parameters(trainer.model)), "peak_memory_bytes": peak}
    if trainer.device.type == "cuda":
        found["peak_device_memory_bytes"] = peak
    if training:
        found["total_time_s"] = training["total_time_s"]
    return found


def _flops(trainer: BaseTrainer) -> dict[str, float]:
    """Count the operations of a forward pass on the first evaluation batch; nothing without such a batch."""
    batch = next(iter(trainer.eval_dataloader or ()), None)
    if batch is None:
        return {}
    with rng_fence(), evaluation_mode(trainer.model), torch.no_grad(), trainer.precision.autocast():
        return {"flops": float(count_flops(lambda: trainer._forward(move(batch, trainer.device)))[0])}
