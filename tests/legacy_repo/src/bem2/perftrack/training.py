"""Train one of the four variants."""

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Callable, Dict

import torch
import torch.nn as nn
from torch.utils.data import DataLoader

from .pt1_head_gating import HeadGroupGatingModule, HeadGroupGatingConfig
from .pt2_dynamic_mask import DynamicRankMaskModule, DynamicRankMaskConfig
from .pt3_kronecker import KroneckerModule, KroneckerConfig
from .pt4_residual_film import ResidualFiLMModule, ResidualFiLMConfig
from .evaluation import BudgetValidator, BudgetConstraints, PerformanceMetrics

logger = logging.getLogger(__name__)

LR_MULTIPLIERS = {"PT1": 1.0, "PT2": 0.5, "PT3": 1.5, "PT4": 0.1}


@dataclass
class PTTrainingConfig:
    learning_rate: float = 5e-4
    batch_size: int = 32
    max_steps: int = 1000
    warmup_steps: int = 100
    weight_decay: float = 1e-4
    variant_lr_multipliers: Dict[str, float] = None
    gradient_clip_norm: float = 1.0
    spectral_penalty_weight: float = 0.1
    budget_penalty_weight: float = 1.0
    eval_steps: int = 100
    save_steps: int = 500
    logging_steps: int = 50
    early_stopping_patience: int = 5
    budget_constraints: BudgetConstraints = None
    enforce_budget_during_training: bool = True
    optimizer_type: str = "adamw"
    scheduler_type: str = "cosine"
    variant_specific_config: Dict[str, Dict] = None

    def __post_init__(self):
        self.variant_lr_multipliers = self.variant_lr_multipliers or dict(LR_MULTIPLIERS)
        self.budget_constraints = self.budget_constraints or BudgetConstraints()


class PTLossFunction:
    def __init__(self, config: PTTrainingConfig):
        self.config = config

    def compute_loss(self, outputs: torch.Tensor, targets: torch.Tensor, model: nn.Module) -> torch.Tensor:
        loss = nn.functional.cross_entropy(outputs, targets)
        for parameter in model.parameters():
            if parameter.dim() == 2 and parameter.numel() > 100:
                sigma = torch.linalg.matrix_norm(parameter, ord=2)
                loss = loss + self.config.spectral_penalty_weight * (sigma - 1).clamp_min(0).pow(2)
        return loss


class PTTrainer:
    def __init__(self, config: PTTrainingConfig):
        self.config, self.loss = config, PTLossFunction(config)
        self.global_step = 0

    def train_variant(
        self, model: nn.Module, train_loader: DataLoader, eval_loader: DataLoader, variant_type: str, save_dir: Path
    ) -> Dict[str, Any]:
        rate = self.config.learning_rate * self.config.variant_lr_multipliers[variant_type]
        optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=self.config.weight_decay)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.config.max_steps, eta_min=0.01 * rate)
        history = []
        for _ in range(self.config.max_steps):
            model.train()
            optimizer.zero_grad()
            inputs, targets = next(iter(train_loader))
            loss = self.loss.compute_loss(model(inputs), targets, model)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), self.config.gradient_clip_norm)
            optimizer.step()
            scheduler.step()
            self.global_step += 1
            history.append(loss.item())
        save_dir.mkdir(parents=True, exist_ok=True)
        summary = {"variant_type": variant_type, "total_steps": self.global_step, "config": asdict(self.config)}
        (save_dir / f"{variant_type}_training_summary.json").write_text(json.dumps(summary))
        return {**summary, "train_metrics_history": history}


def run_pt_variant_training(
    variant_type: str,
    config: PTTrainingConfig,
    train_loader: DataLoader,
    eval_loader: DataLoader,
    save_dir: Path,
    model_factory_fn: Callable[[], nn.Module],
) -> Dict[str, Any]:
    return PTTrainer(config).train_variant(model_factory_fn(), train_loader, eval_loader, variant_type, save_dir)
