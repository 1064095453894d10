"""Minimise the task loss under a bound on the violation rate."""

import logging
from collections import deque
from dataclasses import dataclass
from typing import Callable, Dict, Optional

import torch
import torch.nn as nn

logger = logging.getLogger(__name__)


@dataclass
class ConstraintConfig:
    max_violation_rate: float = 0.05
    violation_tolerance: float = 0.01
    initial_lambda: float = 1.0
    lambda_lr: float = 0.01
    min_lambda: float = 0.001
    max_lambda: float = 100.0
    constraint_check_frequency: int = 100
    constraint_history_length: int = 500
    convergence_window: int = 100
    convergence_tolerance: float = 0.001
    safety_weight: float = 1.0
    utility_weight: float = 1.0
    orthogonality_weight: float = 0.1
    lambda_adaptation_rate: float = 0.1
    constraint_momentum: float = 0.9
    warmup_steps: int = 1000
    max_gradient_norm: float = 1.0
    stability_check: bool = True
    rollback_on_divergence: bool = True


class LagrangianOptimizer:
    def __init__(
        self,
        model: nn.Module,
        config: ConstraintConfig,
        utility_loss_fn: Callable,
        violation_loss_fn: Callable,
        orthogonality_loss_fn: Optional[Callable] = None,
    ):
        self.model, self.config = model, config
        self.utility_loss_fn, self.violation_loss_fn = utility_loss_fn, violation_loss_fn
        self.orthogonality_loss_fn = orthogonality_loss_fn
        self.multiplier = config.initial_lambda
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01)
        self.history = deque(maxlen=config.constraint_history_length)
        self.step_count = 0

    def step(
        self, batch: Dict[str, torch.Tensor], safety_scores: torch.Tensor, return_metrics: bool = False
    ) -> Optional[Dict[str, float]]:
        outputs = self.model(**batch)
        utility = self.utility_loss_fn(outputs, batch)
        rate = float((safety_scores < 0.5).float().mean())
        loss = self.config.utility_weight * utility
        loss = loss + self.multiplier * (self.violation_loss_fn(safety_scores) - self.config.max_violation_rate)
        if self.orthogonality_loss_fn is not None:
            loss = loss + self.config.orthogonality_weight * self.orthogonality_loss_fn()
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.max_gradient_norm)
        self.optimizer.step()
        self.step_count += 1
        if self.step_count > self.config.warmup_steps:
            self._update_multiplier(rate)
        self.history.append(rate)
        return {"loss": float(loss), "violation_rate": rate, "lambda": self.multiplier} if return_metrics else None

    def _update_multiplier(self, rate: float) -> None:
        raised = self.multiplier + self.config.lambda_lr * (rate - self.config.max_violation_rate)
        self.multiplier = min(self.config.max_lambda, max(self.config.min_lambda, raised))

    def get_constraint_analysis(self) -> Dict[str, float]:
        recent = list(self.history)[-10:]
        rate = sum(recent) / len(recent) if recent else 0.0
        return {"lambda": self.multiplier, "mean_violation_rate": rate}
