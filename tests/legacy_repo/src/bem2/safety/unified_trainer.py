"""Safety on the shared training loop."""

from dataclasses import dataclass
from typing import Any, Dict, Optional

import torch
import torch.nn as nn
from torch.utils.data import DataLoader

from ...bem_core.training.base_trainer import BaseTrainer, TrainingConfig
from ...bem_core.evaluation.base_evaluator import BaseEvaluator, EvaluationConfig
from ...bem_core.config.base_config import BaseConfig, ExperimentConfig

from .safety_controller import SafetyController
from .constitutional_scorer import ConstitutionalScorer
from .safety_basis import SafetyBasis
from .violation_detector import ViolationDetector
from .lagrangian_optimizer import LagrangianOptimizer


@dataclass
class SafetyConfig(BaseConfig):
    safety_basis_dim: int = 128
    orthogonality_strength: float = 1.0
    safety_regularization_weight: float = 0.1
    violation_threshold: float = 0.5
    max_violation_rate: float = 0.05
    lagrangian_lr: float = 0.001
    constraint_tolerance: float = 0.01
    curriculum_enabled: bool = True


class SafetyTrainer(BaseTrainer):
    def __init__(
        self,
        config: ExperimentConfig,
        safety_config: Optional[SafetyConfig] = None,
        output_dir: Optional[str] = None,
        experiment_name: Optional[str] = None,
    ):
        super().__init__(config, output_dir, experiment_name)
        self.safety_config = safety_config or SafetyConfig()
        self.basis: Optional[SafetyBasis] = None

    def _setup_model(self) -> nn.Module:
        return nn.Linear(16, 2)

    def _compute_loss(self, batch: Dict[str, Any], outputs: Any) -> Dict[str, torch.Tensor]:
        return {"loss": nn.functional.cross_entropy(outputs, batch["labels"])}

    def _evaluate(self, dataloader: DataLoader) -> Dict[str, float]:
        losses = [float(self._compute_loss(batch, self.model(batch["input"]))["loss"]) for batch in dataloader]
        return {"eval_loss": sum(losses) / max(1, len(losses))}


class SafetyEvaluator(BaseEvaluator):
    def _run_inference(self, batch):
        return self.model(batch["input"]).argmax(dim=-1).tolist(), batch["labels"].tolist()


def migrate_from_legacy_safety_trainer(legacy_config_path: str, output_dir: str) -> SafetyTrainer:
    from ...bem_core.config.config_loader import load_experiment_config

    return SafetyTrainer(load_experiment_config(legacy_config_path), output_dir=output_dir)
