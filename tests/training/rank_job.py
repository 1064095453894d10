"""Runs that tests start on several ranks, in turn: ``torchrun ... -m tests.training.rank_job RUNS.json``."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from bem_core.errors import BemError, TrainingInterrupted
from bem_core.evaluation import BaseEvaluator
from bem_core.training.base_trainer import BaseTrainer

LENGTH, WIDTH, CLASSES, IGNORED = 5, 6, 3, -100


class Layers(nn.Module):
    """Layers in a list, in float64 so that only a wrong sum differs from a right one."""

    def __init__(self, dropout: float, width: int = 8) -> None:
        super().__init__()
        self.first = nn.Linear(WIDTH, 8)
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8)) for _ in range(2))
        self.dropout = nn.Dropout(dropout)
        # Rows that do not divide among the ranks: with four, the last one has none.
        self.last = nn.Linear(8, CLASSES)
        self.unused = nn.Parameter(torch.zeros(width), requires_grad=False)
        self.double()

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        hidden = self.first(x)
        for layer in self.layers:
            hidden = hidden + self.dropout(torch.tanh(layer(hidden)))
        # FSDP warns of outputs that are views, as those of a linear layer are here.
        return self.last(hidden).clone()


def samples(size: int, seed: int = 0) -> list[dict[str, Tensor]]:
    """Sequences with one to five labels each."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for number in range(size):
        labels = torch.randint(CLASSES, (LENGTH,), generator=generator)
        labels[1 + number % LENGTH :] = IGNORED
        found.append({"x": torch.randn(LENGTH, WIDTH, generator=generator, dtype=torch.float64), "labels": labels})
    return found


class Losses(BaseEvaluator):
    """Mean loss of the samples, and how many there are."""

    def _run_inference(self, batch: Any) -> Mapping[str, Any]:
        logits = self.model(**batch)
        losses = functional.cross_entropy(logits.transpose(1, 2), batch["labels"], reduction="none")
        return {"loss": losses.sum(1)}

    def _compute_component_metrics(self, outputs: Mapping[str, Any], batch: Any) -> Mapping[str, Tensor]:
        return {"mean": outputs["loss"]}


class Tagger(BaseTrainer):
    """Trains `Layers`; a run's own options are in ``training.params``."""

    def _setup_model(self) -> nn.Module:
        params = self.config.training.params
        return Layers(params.get("dropout", 0.0), params.get("width", 8))

    def _compute_loss(self, batch: Any, outputs: Any) -> dict[str, Any]:
        return {"loss": functional.cross_entropy(outputs.flatten(0, 1), batch["labels"].flatten())}

    def _evaluate(self, dataloader: Any) -> dict[str, float]:
        result = Losses(self.model, self.config.evaluation).evaluate(dataloader)
        return {"loss": result.metrics["mean"], "count": result.num_samples}

    def _setup_dataloaders(self) -> tuple[Any, Any]:
        training = self.config.training
        train = DataLoader(samples(21), batch_size=training.batch_size, shuffle=True)  # type: ignore[arg-type]
        return train, DataLoader(samples(9, seed=1), batch_size=2)  # type: ignore[arg-type]

    def _on_step_end(self, losses: Mapping[str, Tensor]) -> None:
        if (after := self.config.training.params.get("pause_s")) is not None:
            time.sleep(after)
        if self.progress.step == self.config.training.params.get("stop_at") and self.ranks.rank == self.ranks.world - 1:
            os.kill(os.getpid(), signal.SIGUSR1)
        if self.progress.step == self.config.training.params.get("raise_at") and self.ranks.rank == 1:
            raise ValueError("a fault of rank 1")


class Bypass(Tagger):
    """Calls the model that exchanges no gradients."""

    def _forward(self, batch: Any) -> Any:
        return self.model(**batch)


class FullDisk(Tagger):
    """Lets the last rank find no room when it saves the second time."""

    def save_checkpoint(self, *, best: bool = False) -> Path | None:
        if self.progress.step < 10 or self.ranks.rank != self.ranks.world - 1:
            return super().save_checkpoint(best=best)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
        try:
            return super().save_checkpoint(best=best)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class OwnMean(Tagger):
    """Evaluates what it is given, and knows nothing of other ranks."""

    def _evaluate(self, dataloader: Any) -> dict[str, float]:
        batches = list(dataloader)
        return {"loss": sum(float(batch["x"].mean()) for batch in batches) / len(batches)}


KINDS = {"": Tagger, "bypass": Bypass, "own mean": OwnMean, "full disk": FullDisk}


def experiment(**sections: Mapping[str, Any]) -> dict[str, Any]:
    """Return an experiment of 12 steps in which everything happens; sections add to it or replace some of it."""
    training = {
        "max_steps": 12,
        "learning_rate": 0.05,
        "gradient_accumulation_steps": 4,
        "max_grad_norm": 0.5,
        "weight_decay": 0.1,
        "logging_steps": 1,
        "eval_steps": 6,
        "save_steps": 5,
        "save_strategy": "steps",
    }
    base: dict[str, Any] = {"training": training, "evaluation": {"metrics": ["mean"]}, "hardware": {"device": "cpu"}}
    for name, values in sections.items():
        base[name] = {**base.get(name, {}), **values}
    return {"name": "ranks", **base}


def run(spec: Mapping[str, Any]) -> BaseTrainer:
    """Do one run: ``folder``, ``experiment``, and perhaps ``kind`` and ``resume``."""
    trainer = KINDS[spec.get("kind", "")](spec["experiment"], spec["folder"])
    trainer.setup_training()
    if resume := spec.get("resume"):
        trainer.resume_from(resume)
    try:
        trainer.train()
    except TrainingInterrupted:
        if "stop_at" not in trainer.config.training.params:
            raise
    return trainer


def main() -> int:
    """Do the runs; a `BemError` is written to ``error-RANK`` in the folder of its run, which goes on with the next."""
    torch.set_num_threads(1)
    rank = os.environ.get("RANK", "0")
    for spec in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
        try:
            run(spec)
        except TrainingInterrupted as error:
            Path(spec["folder"], f"exit-{rank}").write_text(str(error.exit_code), encoding="utf-8")
            return error.exit_code
        except BemError as error:
            Path(spec["folder"]).mkdir(parents=True, exist_ok=True)
            Path(spec["folder"], f"error-{rank}").write_text(str(error), encoding="utf-8")
            sys.stderr.write(f"error: {error}\n")
            if not spec.get("fails"):
                return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
