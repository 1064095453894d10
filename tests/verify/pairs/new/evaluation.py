"""The evaluation of the new trainer."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional


@torch.no_grad()
def held_out_loss(model: nn.Module, loader: Any) -> dict[str, float]:
    model.eval()
    pairs = [(model(features), labels) for features, labels in loader]
    total = sum(functional.cross_entropy(*pair, reduction="sum").item() for pair in pairs)
    model.train()
    return {"loss": total / len(loader.dataset)}
