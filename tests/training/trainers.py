"""Small trainers that tests share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from bem_core.training.base_trainer import BaseTrainer

FEATURES, CLASSES = 6, 3


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


def trained(folder: Path, **training: Any) -> Classifier:
    """A classifier after its training."""
    trainer = Classifier(options(**training), folder)
    trainer.setup_training(*loaders())
    trainer.train()
    return trainer
