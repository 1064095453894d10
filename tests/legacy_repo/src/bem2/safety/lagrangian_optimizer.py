"""
Constrained optimization with a Lagrange multiplier.

minimize over the model, maximize over lambda:
    utility_loss + lambda * (violation_rate - max_violation_rate) + orthogonality_weight * penalty

The rate is a step function of the scores, so the model gets the gradient of the violation loss in its place and lambda
gets the rate itself. lambda rises while the constraint is violated.
"""

import logging
from collections import deque
from dataclasses import dataclass
from typing import Callable, Dict, List, Optional

import torch
import torch.nn as nn

logger = logging.getLogger(__name__)


@dataclass
class ConstraintConfig:
    """Configuration of the constraint."""

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
    # Were hard-coded, or in no loss.
    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    violation_weight: float = 1.0


class LagrangianOptimizer:
    def __init__(
        self,
        model: nn.Module,
        config: ConstraintConfig,
        utility_loss_fn: Callable,
        violation_loss_fn: Callable,
        orthogonality_loss_fn: Optional[Callable] = None,
        safety_loss_fn: Optional[Callable] = None,
        undecayed_parameters: Optional[List[nn.Parameter]] = None,
        clipped_parameters: Optional[List[nn.Parameter]] = None,
    ):
        self.model = model
        self.config = config
        self.utility_loss_fn = utility_loss_fn
        self.violation_loss_fn = violation_loss_fn
        self.orthogonality_loss_fn = orthogonality_loss_fn
        self.safety_loss_fn = safety_loss_fn
        self.lambda_param = nn.Parameter(torch.tensor(config.initial_lambda))

        undecayed = list(undecayed_parameters or [])
        ids = {id(p) for p in undecayed}
        groups = [{"params": [p for p in model.parameters() if id(p) not in ids]}]
        if undecayed:
            groups.insert(0, {"params": undecayed, "weight_decay": 0.0})
        self.clipped_parameters = list(clipped_parameters or model.parameters())
        self.model_optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=config.weight_decay)
        # Ascends: it descended before, so that lambda fell when the constraint was violated.
        self.lambda_optimizer = torch.optim.SGD([self.lambda_param], lr=config.lambda_lr, maximize=True)

        self.violation_history = deque(maxlen=config.constraint_history_length)
        self.constraint_satisfaction_history = deque(maxlen=config.constraint_history_length)
        self.lambda_history = deque(maxlen=config.constraint_history_length)
        self.step_count = 0
        self.last_constraint_check = 0
        self.best_model_state = None
        self.best_violation_rate = float("inf")
        self.violation_rate_ema = 0.0
        self.utility_loss_ema = 0.0
        self.total_loss_ema = 0.0
        self.constraint_violations = 0
        self.convergence_achieved = False

    def step(
        self, batch: Dict[str, torch.Tensor], safety_scores: torch.Tensor, return_metrics: bool = False
    ) -> Optional[Dict[str, float]]:
        config = self.config
        self.step_count += 1
        self.model_optimizer.zero_grad()
        self.lambda_optimizer.zero_grad()

        model_output = self.model(**batch)
        utility_loss = self.utility_loss_fn(model_output, batch)
        violation_loss = self.violation_loss_fn(model_output, safety_scores)
        violation_rate = self._compute_violation_rate(model_output, safety_scores)

        # Value of the rate, gradient of the loss: the rate alone is a constant for the model.
        rate = violation_rate + (violation_loss - violation_loss.detach())
        lambda_value = torch.clamp(self.lambda_param, config.min_lambda, config.max_lambda)
        total_loss = config.utility_weight * utility_loss
        total_loss = total_loss + config.violation_weight * lambda_value * (rate - config.max_violation_rate)
        if self.orthogonality_loss_fn is not None:
            total_loss = total_loss + config.orthogonality_weight * self.orthogonality_loss_fn()
        if self.safety_loss_fn is not None:
            total_loss = total_loss + config.safety_weight * self.safety_loss_fn(model_output, batch)

        total_loss.backward()
        torch.nn.utils.clip_grad_norm_(self.clipped_parameters, config.max_gradient_norm)
        self.model_optimizer.step()

        if self.step_count > config.warmup_steps:
            self.lambda_optimizer.step()
            with torch.no_grad():
                self.lambda_param.clamp_(config.min_lambda, config.max_lambda)

        values = (utility_loss.item(), violation_loss.item(), violation_rate.item(), total_loss.item())
        self._update_telemetry(*values)
        if self.step_count - self.last_constraint_check >= config.constraint_check_frequency:
            self._check_constraints()
            self.last_constraint_check = self.step_count
        if values[2] < self.best_violation_rate and values[2] <= config.max_violation_rate:
            self.best_violation_rate = values[2]
            self.best_model_state = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
            self.best_model_state["lambda_param"] = self.lambda_param.detach().clone()
        if not return_metrics:
            return None
        metrics = self._get_optimization_metrics(
            values[0], values[1], values[2], values[2] - config.max_violation_rate, self.lambda_param.item()
        )
        metrics["total_loss"] = values[3]
        return metrics

    def _compute_violation_rate(self, model_output, safety_scores: torch.Tensor) -> torch.Tensor:
        scores = safety_scores
        if isinstance(model_output, dict) and model_output.get("output_scores") is not None:
            scores = model_output["output_scores"]
        return (scores < 0.5).float().mean()

    def _update_telemetry(
        self, utility_loss: float, violation_loss: float, violation_rate: float, total_loss: float
    ):
        alpha = 0.01
        self.violation_rate_ema = (1 - alpha) * self.violation_rate_ema + alpha * violation_rate
        self.utility_loss_ema = (1 - alpha) * self.utility_loss_ema + alpha * utility_loss
        self.total_loss_ema = (1 - alpha) * self.total_loss_ema + alpha * total_loss
        self.violation_history.append(violation_rate)
        self.lambda_history.append(self.lambda_param.item())

    def _check_constraints(self):
        config = self.config
        recent = list(self.violation_history)[-10:]
        satisfied = sum(recent) / len(recent) <= config.max_violation_rate + config.violation_tolerance
        self.constraint_satisfaction_history.append(satisfied)
        if not satisfied:
            self.constraint_violations += 1
        self._adapt_lambda_learning_rate(satisfied)
        window = list(self.constraint_satisfaction_history)[-config.convergence_window :]
        if len(window) >= config.convergence_window:
            stable = self._compute_lambda_stability() < config.convergence_tolerance
            self.convergence_achieved = sum(window) / len(window) > 0.9 and stable

    def _compute_lambda_stability(self) -> float:
        recent = list(self.lambda_history)[-self.config.convergence_window :]
        mean = sum(recent) / max(1, len(recent))
        return (sum((v - mean) ** 2 for v in recent) / max(1, len(recent))) ** 0.5

    def _adapt_lambda_learning_rate(self, constraint_satisfied: bool):
        for group in self.lambda_optimizer.param_groups:
            factor = 0.99 if constraint_satisfied else 1.1
            group["lr"] = min(1.0, max(1e-6, group["lr"] * factor))

    def _get_optimization_metrics(
        self,
        utility_loss: float,
        violation_loss: float,
        violation_rate: float,
        constraint_violation: float,
        lambda_value: float,
    ) -> Dict[str, float]:
        return {
            "utility_loss": utility_loss,
            "violation_loss": violation_loss,
            "violation_rate": violation_rate,
            "constraint_violation": constraint_violation,
            "lambda": lambda_value,
            "violation_rate_ema": self.violation_rate_ema,
            "utility_loss_ema": self.utility_loss_ema,
            "lambda_lr": self.lambda_optimizer.param_groups[0]["lr"],
        }

    def get_constraint_analysis(self) -> Dict[str, any]:
        recent = list(self.violation_history)[-self.config.convergence_window :]
        checks = list(self.constraint_satisfaction_history)
        return {
            "lambda": self.lambda_param.item(),
            "mean_violation_rate": sum(recent) / len(recent) if recent else 0.0,
            "constraint_satisfaction_rate": sum(checks) / len(checks) if checks else 0.0,
            "constraint_violations": self.constraint_violations,
            "lambda_stability": self._compute_lambda_stability(),
            "convergence_achieved": self.convergence_achieved,
            "best_violation_rate": self.best_violation_rate,
        }

    def save_checkpoint(self, filepath: str):
        torch.save(
            {
                "model_state_dict": self.model.state_dict(),
                "model_optimizer_state_dict": self.model_optimizer.state_dict(),
                "lambda_optimizer_state_dict": self.lambda_optimizer.state_dict(),
                "lambda_param": self.lambda_param.detach(),
                "step_count": self.step_count,
                "violation_history": list(self.violation_history),
                "constraint_satisfaction_history": list(self.constraint_satisfaction_history),
                "lambda_history": list(self.lambda_history),
                "best_model_state": self.best_model_state,
                "best_violation_rate": self.best_violation_rate,
                "convergence_achieved": self.convergence_achieved,
                "config": self.config,
            },
            filepath,
        )

    def load_checkpoint(self, filepath: str):
        checkpoint = torch.load(filepath, weights_only=False)
        self.model.load_state_dict(checkpoint["model_state_dict"])
        self.model_optimizer.load_state_dict(checkpoint["model_optimizer_state_dict"])
        self.lambda_optimizer.load_state_dict(checkpoint["lambda_optimizer_state_dict"])
        self.lambda_param.data.copy_(checkpoint["lambda_param"])
        self.step_count = checkpoint["step_count"]
        self.violation_history.extend(checkpoint["violation_history"])
        self.constraint_satisfaction_history.extend(checkpoint["constraint_satisfaction_history"])
        self.lambda_history.extend(checkpoint["lambda_history"])
        self.best_model_state = checkpoint["best_model_state"]
        self.best_violation_rate = checkpoint["best_violation_rate"]
        self.convergence_achieved = checkpoint["convergence_achieved"]

    def restore_best_model(self):
        if self.best_model_state is None:
            return
        state = dict(self.best_model_state)
        self.lambda_param.data.copy_(state.pop("lambda_param"))
        self.model.load_state_dict(state)
        logger.info("restored the model with violation rate %.4f", self.best_violation_rate)

    def reset_constraint_tracking(self):
        self.violation_history.clear()
        self.constraint_satisfaction_history.clear()
        self.lambda_history.clear()
        self.constraint_violations = 0
        self.convergence_achieved = False

    def update_constraint_target(self, new_target: float):
        self.config.max_violation_rate = new_target
