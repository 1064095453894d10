"""The trainer that `startup.py` runs: tiny, and it writes down when its first step was done."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from bem_core.training.base_trainer import BaseTrainer


class Stopwatch(BaseTrainer):
    """Trains a linear layer; ``metadata.mark`` is the file that gets the time of the first step."""

    def _setup_model(self) -> nn.Module:
        return nn.Linear(8, 2)

    def _setup_dataloaders(self) -> tuple[Any, Any]:
        data = TensorDataset(torch.randn(64, 8), torch.randint(2, (64,)))
        return DataLoader(data, batch_size=8, shuffle=True), None

    def _forward(self, batch: Any) -> Any:
        return self.wrapped_model(batch[0])

    def _compute_loss(self, batch: Any, outputs: Any) -> dict[str, Any]:
        return {"loss": nn.functional.cross_entropy(outputs, batch[1])}

    def _evaluate(self, dataloader: Any) -> dict[str, float]:
        return {}

    def _on_step_end(self, losses: Mapping[str, Tensor]) -> None:
        if self.progress.step == 1:
            # The clock of the system, which the process that started this one reads too.
            Path(self.config.metadata["mark"]).write_text(repr(time.time()))
