"""Small trainers that tests share."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from bem_core.training.base_trainer import BaseTrainer
from bem_core.training.callbacks import Callback, Record
from bem_core.training.step import Outcome

# Models this small are ten times as slow where two threads wait for each other on a busy machine.
torch.set_num_threads(1)
FEATURES, CLASSES = 6, 3
T = TypeVar("T", bound=BaseTrainer)


def mlp() -> nn.Sequential:
    """A model with a norm, dropout and two linear layers."""
    return nn.Sequential(nn.Linear(FEATURES, 8), nn.LayerNorm(8), nn.GELU(), nn.Dropout(0.2), nn.Linear(8, CLASSES))


class Classifier(BaseTrainer):
    """Trains `mlp` on (features, label) batches."""

    def _setup_model(self) -> nn.Module:
        return mlp()

    def _forward(self, batch: Any) -> Any:
        return self.wrapped_model(batch[0])

    def _compute_loss(self, batch: Any, outputs: Any) -> dict[str, Any]:
        return {"loss": functional.cross_entropy(outputs, batch[1])}

    def _evaluate(self, dataloader: Any) -> dict[str, float]:
        losses = [functional.cross_entropy(self.model(x), y, reduction="sum") for x, y in dataloader]
        return {"loss": float(sum(losses)) / len(dataloader.dataset)}


def dataset(size: int = 50, seed: int = 0) -> TensorDataset:
    """Random features whose label is the place of the largest of the first ones."""
    features = torch.randn(size, FEATURES, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(features, features[:, :CLASSES].argmax(1))


def loaders(size: int = 50, batch_size: int = 4, **kwargs: Any) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """A shuffled loader for training and one for evaluation."""
    train = DataLoader(dataset(size), batch_size=batch_size, shuffle=True, **kwargs)
    return train, DataLoader(dataset(10, seed=1), batch_size=4)


def options(**training: Any) -> dict[str, Any]:
    """An experiment with these training options and little else."""
    given = {"max_steps": 10, "learning_rate": 0.01, "logging_steps": 3, "eval_steps": 4, "save_steps": 5} | training
    return {"name": "tiny", "training": given, "hardware": {"device": "cpu"}}


class Watch(Callback):
    """Remembers the loss and the learning rates of each step, and what was evaluated and saved where."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.rates: list[list[float]] = []
        self.stepped: list[bool] = []
        self.evaluated: list[int] = []
        self.saved: list[int] = []
        self.logged: list[int] = []

    def on_step_end(self, trainer: BaseTrainer, outcome: Outcome) -> None:
        self.losses.append(outcome.losses["loss"].item())
        self.rates.append([group["lr"] for group in trainer.optimizer.param_groups])
        self.stepped.append(outcome.stepped)

    def on_log(self, trainer: BaseTrainer, record: Record) -> None:
        self.logged.append(record["step"])

    def on_evaluate(self, trainer: BaseTrainer, record: Record) -> None:
        self.evaluated.append(record["step"])

    def on_save(self, trainer: BaseTrainer, path: Path) -> None:
        self.saved.append(trainer.progress.step)


def prepared(
    folder: Path,
    kind: type[T] = Classifier,  # type: ignore[assignment]
    data: tuple[Any, Any] | None = None,
    sections: dict[str, Any] | None = None,
    **training: Any,
) -> tuple[T, Watch]:
    """A trainer that is set up, and what watches it.

    Args:
        folder: Of the run.
        kind: Class of the trainer.
        data: Loaders of training and evaluation; by default `loaders`.
        sections: Other sections of the experiment.
        training: Options.
    """
    watch = Watch()
    config = options(**training)
    for name, section in (sections or {}).items():
        config[name] = config.get(name, {}) | section if isinstance(section, dict) else section
    trainer = kind(config, folder, callbacks=[watch])
    trainer.setup_training(*(data or loaders()))
    return trainer, watch


def trained(folder: Path, *args: Any, **kwargs: Any) -> tuple[Any, Watch]:
    """The same after its training."""
    trainer, watch = prepared(folder, *args, **kwargs)
    trainer.train()
    return trainer, watch


def weights(model: nn.Module) -> dict[str, list[float]]:
    """All weights as plain numbers, which are equal or not to the last bit."""
    return {name: value.flatten().tolist() for name, value in model.state_dict().items()}
