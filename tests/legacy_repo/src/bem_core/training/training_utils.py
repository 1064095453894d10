"""Pieces of a training loop."""

from typing import Callable

import torch
import torch.nn as nn

from ..config.base_config import TrainingConfig

NO_DECAY = ("bias", "LayerNorm.weight")


def setup_model(factory: Callable[[], nn.Module], device: str = "cpu") -> nn.Module:
    return factory().to(device)


def setup_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    groups = [
        {
            "params": [p for name, p in named if not any(part in name for part in NO_DECAY)],
            "weight_decay": config.weight_decay,
        },
        {"params": [p for name, p in named if any(part in name for part in NO_DECAY)], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, eps=config.adam_epsilon)


def setup_scheduler(optimizer: torch.optim.Optimizer, config: TrainingConfig):
    warmup, total = max(1, config.warmup_steps), max(1, config.max_steps)

    def factor(step: int) -> float:
        if config.scheduler_type != "linear":
            return 1.0
        if step < warmup:
            return step / warmup
        return max(0.0, (total - step) / max(1, total - warmup))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def compute_gradient_norm(model: nn.Module) -> float:
    squares = [p.grad.pow(2).sum() for p in model.parameters() if p.grad is not None]
    return float(torch.stack(squares).sum().sqrt()) if squares else 0.0


def apply_gradient_clipping(model: nn.Module, max_norm: float) -> float:
    return float(torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm))
