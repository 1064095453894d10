"""Train a model with the safety components around it."""

import logging
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Optional

import torch
import torch.nn as nn

from .safety_basis import OrthogonalSafetyBasis, SafetyBasisConfig
from .constitutional_scorer import ConstitutionalScorer, ValueModelConfig
from .lagrangian_optimizer import LagrangianOptimizer, ConstraintConfig
from .safety_controller import SafetyController, ControlConfig
from .violation_detector import ViolationDetector, ViolationConfig

logger = logging.getLogger(__name__)


@dataclass
class SafetyTrainingConfig:
    num_epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    safety_warmup_epochs: int = 2
    orthogonality_warmup_epochs: int = 3
    constraint_warmup_epochs: int = 1
    utility_weight: float = 1.0
    safety_weight: float = 1.0
    orthogonality_weight: float = 0.5
    violation_constraint_weight: float = 2.0
    performance_check_frequency: int = 100
    max_performance_drop: float = 0.01
    rollback_threshold: int = 3
    eval_frequency: int = 500
    eval_samples: int = 100
    track_violation_reduction: bool = True
    enable_curriculum: bool = True
    curriculum_stages: int = 4
    stage_warmup_steps: int = 200
    save_frequency: int = 1000
    keep_best_checkpoint: bool = True
    checkpoint_dir: str = "checkpoints"
    log_frequency: int = 10
    track_gradients: bool = True
    track_activations: bool = True
    use_wandb: bool = True


class SafetyTrainingPipeline:
    def __init__(
        self,
        model: nn.Module,
        config: SafetyTrainingConfig,
        safety_basis_config: SafetyBasisConfig,
        value_model_config: ValueModelConfig,
        constraint_config: ConstraintConfig,
        control_config: ControlConfig,
        violation_config: ViolationConfig,
    ):
        self.model, self.config = model, config
        self.safety_basis = OrthogonalSafetyBasis(safety_basis_config)
        self.constitutional_scorer = ConstitutionalScorer(value_model_config)
        self.safety_controller = SafetyController(control_config)
        self.violation_detector = ViolationDetector(violation_config)
        self.lagrangian = LagrangianOptimizer(
            model, constraint_config, self._utility_loss, lambda scores: (1 - scores).mean().detach()
        )
        self.current_step = 0
        self.best_violation_rate = float("inf")
        self.utility_losses = deque(maxlen=1000)
        Path(config.checkpoint_dir).mkdir(exist_ok=True)
        if config.use_wandb:
            import wandb

            wandb.init(project="bem2-safety-training", config=config.__dict__)

    @staticmethod
    def _utility_loss(outputs, batch) -> torch.Tensor:
        logits = outputs["logits"] if isinstance(outputs, dict) else outputs
        return nn.functional.cross_entropy(logits.flatten(0, -2), batch["labels"].flatten())

    def train(
        self, train_dataloader, val_dataloader, safety_evaluation_fn: Optional[Callable] = None
    ) -> Dict[str, Any]:
        epoch = 0
        for epoch in range(self.config.num_epochs):
            self.safety_basis.freeze_safety_bases(epoch < self.config.safety_warmup_epochs)
            for batch in train_dataloader:
                self._train_step(batch)
            state = {"epoch": epoch, "step": self.current_step, "model_state_dict": self.model.state_dict()}
            torch.save(state, Path(self.config.checkpoint_dir) / f"epoch_{epoch}.pt")
        return {
            "training_completed": True,
            "total_epochs": epoch,
            "total_steps": self.current_step,
            "best_violation_rate": self.best_violation_rate,
            "constraint_analysis": self.lagrangian.get_constraint_analysis(),
        }

    def _train_step(self, batch: Dict[str, torch.Tensor]) -> None:
        self.current_step += 1
        scores = self.constitutional_scorer(batch["input_ids"])
        metrics = self.lagrangian.step(batch, scores, return_metrics=True)
        self.utility_losses.append(metrics["loss"])
        self.best_violation_rate = min(self.best_violation_rate, metrics["violation_rate"])
