"""
Training of the performance track: optimizers, losses and the loop for PT1 to PT4.
"""

import torch
import torch.nn as nn
import torch.optim as optim
from torch.utils.data import DataLoader
from typing import Dict, List, Optional, Tuple, Union, Any, Callable
from dataclasses import dataclass, asdict
import logging
import time
import json
import math
from pathlib import Path

import numpy as np

from .pt1_head_gating import HeadGroupGatingModule, HeadGroupGatingConfig
from .pt2_dynamic_mask import DynamicRankMaskModule, DynamicRankMaskConfig
from .pt3_kronecker import KroneckerModule, KroneckerConfig
from .pt4_residual_film import ResidualFiLMModule, ResidualFiLMConfig
from .evaluation import BudgetValidator, BudgetConstraints, PerformanceMetrics

logger = logging.getLogger(__name__)


@dataclass
class PTTrainingConfig:
    """Configuration of the training of a variant."""
    # optimization
    learning_rate: float = 5e-4
    batch_size: int = 32
    max_steps: int = 1000
    warmup_steps: int = 100
    weight_decay: float = 1e-4

    # per variant
    variant_lr_multipliers: Dict[str, float] = None

    # regularization
    gradient_clip_norm: float = 1.0
    spectral_penalty_weight: float = 0.1
    budget_penalty_weight: float = 1.0

    # schedule of evaluation and checkpoints
    eval_steps: int = 100
    save_steps: int = 500
    logging_steps: int = 50
    early_stopping_patience: int = 5

    # budget
    budget_constraints: BudgetConstraints = None
    enforce_budget_during_training: bool = True

    # optimizer and scheduler
    optimizer_type: str = "adamw"
    scheduler_type: str = "cosine"

    variant_specific_config: Dict[str, Dict] = None

    def __post_init__(self):
        # YAML gives 5e-4 as a string
        self.learning_rate = float(self.learning_rate)
        self.weight_decay = float(self.weight_decay)
        if self.variant_lr_multipliers is None:
            self.variant_lr_multipliers = {"PT1": 1.0, "PT2": 0.5, "PT3": 1.5, "PT4": 0.1}
        if self.budget_constraints is None:
            self.budget_constraints = BudgetConstraints()
        elif isinstance(self.budget_constraints, dict):
            self.budget_constraints = BudgetConstraints(**self.budget_constraints)
        if self.variant_specific_config is None:
            self.variant_specific_config = {}


class PTOptimizer:
    """Optimizers and schedulers of the variants."""

    def __init__(self, config: PTTrainingConfig):
        self.config = config
        self.optimizers: Dict[str, optim.Optimizer] = {}
        self.schedulers: Dict[str, Any] = {}

    def setup_optimizers(self, model: nn.Module, variant_type: str):
        base_lr = self.config.learning_rate
        variant_lr = base_lr * self.config.variant_lr_multipliers.get(variant_type, 1.0)
        param_groups = self._create_parameter_groups(model, variant_type, variant_lr)

        if self.config.optimizer_type == "adamw":
            optimizer = optim.AdamW(
                param_groups, lr=variant_lr, weight_decay=self.config.weight_decay, betas=(0.9, 0.999), eps=1e-8
            )
        elif self.config.optimizer_type == "adam":
            optimizer = optim.Adam(param_groups, lr=variant_lr, weight_decay=self.config.weight_decay)
        elif self.config.optimizer_type == "sgd":
            optimizer = optim.SGD(param_groups, lr=variant_lr, momentum=0.9, weight_decay=self.config.weight_decay)
        else:
            raise ValueError(f"Unknown optimizer type: {self.config.optimizer_type}")

        if self.config.scheduler_type == "cosine":
            scheduler = optim.lr_scheduler.CosineAnnealingLR(
                optimizer, T_max=self.config.max_steps, eta_min=variant_lr * 0.01
            )
        elif self.config.scheduler_type == "linear":
            scheduler = optim.lr_scheduler.LinearLR(
                optimizer, start_factor=0.1, total_iters=self.config.warmup_steps
            )
        else:
            scheduler = optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)

        self.optimizers[variant_type] = optimizer
        self.schedulers[variant_type] = scheduler

    def _create_parameter_groups(self, model: nn.Module, variant_type: str, base_lr: float) -> List[Dict[str, Any]]:
        named = [(name, param) for name, param in model.named_parameters() if param.requires_grad]

        if variant_type == "PT1":
            gate_params, projection_params, other_params = [], [], []
            for name, param in named:
                if 'gate_controller' in name:
                    gate_params.append(param)
                elif 'group_projections' in name:
                    projection_params.append(param)
                else:
                    other_params.append(param)
            groups = [
                {'params': gate_params, 'lr': base_lr * 0.5},
                {'params': projection_params, 'lr': base_lr * 1.0},
                {'params': other_params, 'lr': base_lr},
            ]
        elif variant_type == "PT2":
            mask_params, factor_params, other_params = [], [], []
            for name, param in named:
                if 'mask' in name or 'instance_controller' in name:
                    mask_params.append(param)
                elif 'U' in name or 'V' in name:
                    factor_params.append(param)
                else:
                    other_params.append(param)
            groups = [
                {'params': mask_params, 'lr': base_lr * 0.1},
                {'params': factor_params, 'lr': base_lr * 1.0},
                {'params': other_params, 'lr': base_lr},
            ]
        elif variant_type == "PT3":
            u_params, v_params, projection_params, other_params = [], [], [], []
            for name, param in named:
                if 'kronecker.U' in name:
                    u_params.append(param)
                elif 'kronecker.V' in name:
                    v_params.append(param)
                elif 'output_projection' in name:
                    projection_params.append(param)
                else:
                    other_params.append(param)
            groups = [
                {'params': u_params, 'lr': base_lr * 1.5},
                {'params': v_params, 'lr': base_lr * 1.5},
                {'params': projection_params, 'lr': base_lr * 1.0},
                {'params': other_params, 'lr': base_lr},
            ]
        elif variant_type == "PT4":
            controller_params, modulation_params, scale_params, other_params = [], [], [], []
            for name, param in named:
                if 'controller' in name:
                    controller_params.append(param)
                elif 'modulation' in name:
                    modulation_params.append(param)
                elif 'residual_scale' in name:
                    scale_params.append(param)
                else:
                    other_params.append(param)
            groups = [
                {'params': controller_params, 'lr': base_lr * 0.05},
                {'params': modulation_params, 'lr': base_lr * 0.02},
                {'params': scale_params, 'lr': base_lr * 0.01},
                {'params': other_params, 'lr': base_lr},
            ]
        else:
            groups = [{'params': [param for _, param in named], 'lr': base_lr}]

        return [group for group in groups if group['params']]

    def step(self, variant_type: str):
        self.optimizers[variant_type].step()
        self.schedulers[variant_type].step()

    def zero_grad(self, variant_type: str):
        self.optimizers[variant_type].zero_grad()

    def get_lr(self, variant_type: str) -> float:
        return self.optimizers[variant_type].param_groups[0]['lr']


class PTLossFunction:
    """Cross-entropy and what each variant adds to it."""

    def __init__(self, config: PTTrainingConfig):
        self.config = config
        self.budget_validator = BudgetValidator(config.budget_constraints)

    def compute_loss(
        self,
        model: nn.Module,
        outputs: torch.Tensor,
        targets: torch.Tensor,
        variant_type: str,
        attention_info: Optional[Dict[str, torch.Tensor]] = None
    ) -> Dict[str, torch.Tensor]:
        losses = {}
        # [B, S, V] of a language model: every position is a sample
        flat_outputs = outputs.reshape(-1, outputs.shape[-1])
        flat_targets = targets.reshape(-1)
        task_loss = nn.functional.cross_entropy(flat_outputs, flat_targets)
        losses['task_loss'] = task_loss
        total_loss = task_loss

        if attention_info:
            if variant_type == "PT1":
                variant_losses = self._compute_pt1_regularization(attention_info)
            elif variant_type == "PT2":
                variant_losses = self._compute_pt2_regularization(attention_info)
            elif variant_type == "PT3":
                variant_losses = self._compute_pt3_regularization(attention_info)
            elif variant_type == "PT4":
                variant_losses = self._compute_pt4_regularization(attention_info)
            else:
                variant_losses = {}
            for name, value in variant_losses.items():
                losses[name] = value
                total_loss = total_loss + value

        spectral_penalty = self._compute_spectral_penalty(model)
        losses['spectral_penalty'] = spectral_penalty
        total_loss = total_loss + self.config.spectral_penalty_weight * spectral_penalty

        if self.config.enforce_budget_during_training:
            budget_penalty = self._compute_budget_penalty(model)
            losses['budget_penalty'] = budget_penalty
            total_loss = total_loss + self.config.budget_penalty_weight * budget_penalty

        losses['total_loss'] = total_loss
        return losses

    def _compute_pt1_regularization(self, attention_info: Dict) -> Dict[str, torch.Tensor]:
        losses = {}
        if 'decorrelation_loss' in attention_info:
            losses['decorrelation_loss'] = attention_info['decorrelation_loss'].mean()
        if 'gate_entropy' in attention_info:
            target_entropy = math.log(attention_info['gates'].shape[-1])
            losses['gate_entropy_loss'] = 0.01 * torch.abs(attention_info['gate_entropy'] - target_entropy).mean()
        return losses

    def _compute_pt2_regularization(self, attention_info: Dict) -> Dict[str, torch.Tensor]:
        losses = {}
        if 'sparsity' in attention_info:
            losses['sparsity_loss'] = 0.1 * torch.abs(attention_info['sparsity'] - 0.5).mean()
        if 'mask_entropy' in attention_info:
            losses['mask_entropy_loss'] = -0.01 * attention_info['mask_entropy'].mean()
        return losses

    def _compute_pt3_regularization(self, attention_info: Dict) -> Dict[str, torch.Tensor]:
        losses = {}
        if 'orthogonal_reg' in attention_info:
            losses['orthogonal_reg'] = attention_info['orthogonal_reg'].mean()
        if 'diversity_reg' in attention_info:
            losses['diversity_reg'] = attention_info['diversity_reg'].mean()
        return losses

    def _compute_pt4_regularization(self, attention_info: Dict) -> Dict[str, torch.Tensor]:
        losses = {}
        if 'gamma' in attention_info:
            losses['gamma_loss'] = 0.1 * torch.mean(torch.abs(attention_info['gamma'] - 1.0))
            losses['beta_loss'] = 0.1 * torch.mean(torch.abs(attention_info['beta']))
        return losses

    def _compute_spectral_penalty(self, model: nn.Module) -> torch.Tensor:
        penalty = torch.zeros((), device=next(model.parameters()).device)
        for name, param in model.named_parameters():
            # frozen weights would add a constant
            if param.requires_grad and param.dim() == 2 and param.numel() > 100:
                sigma1 = torch.linalg.svdvals(param)[0]
                penalty = penalty + torch.clamp(sigma1 - 1.0, min=0.0) ** 2
        return penalty

    def _compute_budget_penalty(self, model: nn.Module) -> torch.Tensor:
        param_count = sum(p.numel() for p in model.parameters())
        result = self.budget_validator.validate_parameters(param_count)
        device = next(model.parameters()).device
        if result['within_budget']:
            return torch.zeros((), device=device)
        baseline = self.config.budget_constraints.baseline_params
        return torch.tensor(((param_count - baseline) / baseline) ** 2, device=device)


class PTTrainer:
    """Trains variants one after the other."""

    def __init__(self, config: PTTrainingConfig):
        self.config = config
        self.optimizer = PTOptimizer(config)
        self.loss_function = PTLossFunction(config)
        self.global_step = 0
        self.best_metrics: Dict[str, Dict[str, float]] = {}
        self.early_stopping_counter = 0
        self.train_metrics: List[Dict[str, float]] = []
        self.eval_metrics: List[Dict[str, float]] = []

    def train_variant(
        self,
        model: nn.Module,
        train_loader: DataLoader,
        eval_loader: DataLoader,
        variant_type: str,
        save_dir: Path
    ) -> Dict[str, Any]:
        logger.info(f"Training {variant_type} for {self.config.max_steps} steps")
        save_dir = Path(save_dir)
        save_dir.mkdir(parents=True, exist_ok=True)
        self.optimizer.setup_optimizers(model, variant_type)
        start_time = time.time()

        for step in range(self.config.max_steps):
            self.global_step = step
            train_metrics = self._training_step(model, train_loader, variant_type)
            self.train_metrics.append(train_metrics)

            if step % self.config.logging_steps == 0:
                self._log_metrics(train_metrics, step, "train")

            if step % self.config.eval_steps == 0:
                eval_metrics = self._evaluation_step(model, eval_loader, variant_type)
                self.eval_metrics.append(eval_metrics)
                self._log_metrics(eval_metrics, step, "eval")
                if self._check_early_stopping(eval_metrics, variant_type):
                    logger.info(f"Early stopping at step {step}")
                    break

            if step % self.config.save_steps == 0 and step > 0:
                self._save_checkpoint(model, save_dir, variant_type, step)

        training_time = time.time() - start_time
        final_metrics = self._evaluation_step(model, eval_loader, variant_type)
        self._save_checkpoint(model, save_dir, variant_type, "final")

        results = {
            'variant_type': variant_type,
            'total_steps': self.global_step + 1,
            'training_time_seconds': training_time,
            'final_metrics': final_metrics,
            'best_metrics': self.best_metrics.get(variant_type, {}),
            'train_metrics_history': self.train_metrics,
            'eval_metrics_history': self.eval_metrics,
            'config': asdict(self.config),
        }
        with open(save_dir / f"{variant_type}_training_summary.json", 'w') as f:
            json.dump(results, f, indent=2, default=str)
        return results

    def _training_step(self, model: nn.Module, train_loader: DataLoader, variant_type: str) -> Dict[str, float]:
        model.train()
        self.optimizer.zero_grad(variant_type)

        inputs, targets = next(iter(train_loader))
        if torch.cuda.is_available():
            inputs, targets = inputs.cuda(), targets.cuda()

        outputs = model(inputs, output_attentions=True)
        attention_info = None
        if isinstance(outputs, tuple):
            outputs, attention_info = outputs

        losses = self.loss_function.compute_loss(model, outputs, targets, variant_type, attention_info)
        losses['total_loss'].backward()
        grad_norm = torch.nn.utils.clip_grad_norm_(model.parameters(), self.config.gradient_clip_norm)
        self.optimizer.step(variant_type)

        metrics = {name: value.item() for name, value in losses.items()}
        metrics['grad_norm'] = grad_norm.item()
        metrics['learning_rate'] = self.optimizer.get_lr(variant_type)
        metrics['step'] = self.global_step
        return metrics

    def _evaluation_step(self, model: nn.Module, eval_loader: DataLoader, variant_type: str) -> Dict[str, float]:
        model.eval()
        losses, correct, total = [], 0, 0
        with torch.no_grad():
            for inputs, targets in eval_loader:
                if torch.cuda.is_available():
                    inputs, targets = inputs.cuda(), targets.cuda()
                outputs = model(inputs, output_attentions=True)
                attention_info = None
                if isinstance(outputs, tuple):
                    outputs, attention_info = outputs
                loss_dict = self.loss_function.compute_loss(model, outputs, targets, variant_type, attention_info)
                losses.append(loss_dict['total_loss'].item())
                predictions = outputs.argmax(dim=-1)
                # -100 where a language model has nothing to predict
                counted = targets != -100
                correct += (predictions[counted] == targets[counted]).sum().item()
                total += counted.sum().item()
        return {'eval_loss': np.mean(losses), 'eval_accuracy': correct / max(total, 1), 'step': self.global_step}

    def _check_early_stopping(self, eval_metrics: Dict[str, float], variant_type: str) -> bool:
        best = self.best_metrics.get(variant_type)
        if best is None or eval_metrics['eval_loss'] < best['eval_loss']:
            self.best_metrics[variant_type] = dict(eval_metrics)
            self.early_stopping_counter = 0
            return False
        self.early_stopping_counter += 1
        return self.early_stopping_counter >= self.config.early_stopping_patience

    def _log_metrics(self, metrics: Dict[str, float], step: int, mode: str):
        text = ", ".join(f"{name}: {value:.6f}" for name, value in metrics.items() if name != 'step')
        logger.info(f"[{mode}] step {step}: {text}")

    def _save_checkpoint(self, model: nn.Module, save_dir: Path, variant_type: str, step: Union[int, str]):
        checkpoint = {
            'model_state_dict': model.state_dict(),
            'optimizer_state_dicts': {name: o.state_dict() for name, o in self.optimizer.optimizers.items()},
            'scheduler_state_dicts': {name: s.state_dict() for name, s in self.optimizer.schedulers.items()},
            'global_step': self.global_step,
            'config': self.config,
            'best_metrics': self.best_metrics,
        }
        path = save_dir / f"{variant_type}_checkpoint_{step}.pt"
        torch.save(checkpoint, path)
        logger.info(f"Saved {path}")


def run_pt_variant_training(
    variant_type: str,
    config: PTTrainingConfig,
    train_loader: DataLoader,
    eval_loader: DataLoader,
    save_dir: Path,
    model_factory_fn: Callable[[], nn.Module]
) -> Dict[str, Any]:
    model = model_factory_fn()
    if torch.cuda.is_available():
        model = model.cuda()
    return PTTrainer(config).train_variant(model, train_loader, eval_loader, variant_type, save_dir)
