"""Train the multimodal controller."""

import logging
import random
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional

import torch
import torch.nn as nn

from .vision_encoder import VisionEncoder, VisionFeatures
from .controller_integration import MultimodalController, MultimodalRoutingState
from .coverage_analysis import ConsistencyGate, CoverageMetrics, ConsistencyMetrics
from .evaluation import VQAEvaluator, HallucinationDetector
from .preprocessing import VisionPreprocessor

logger = logging.getLogger(__name__)


@dataclass
class MultimodalTrainingConfig:
    vision_dim: int = 512
    controller_dim: int = 512
    code_dim: int = 8
    learning_rate: float = 1e-4
    weight_decay: float = 1e-5
    warmup_steps: int = 1000
    max_steps: int = 50000
    gradient_clip_norm: float = 1.0
    primary_loss_weight: float = 1.0
    coverage_loss_weight: float = 0.1
    consistency_loss_weight: float = 0.1
    conflict_loss_weight: float = 0.05
    hallucination_loss_weight: float = 0.1
    batch_size: int = 8
    gradient_accumulation_steps: int = 4
    evaluation_steps: int = 1000
    save_steps: int = 5000
    vision_dropout: float = 0.1
    consistency_threshold: float = 0.5
    coverage_threshold: float = 0.3
    enable_conflict_supervision: bool = True
    validate_cache_safety: bool = True
    generator_gradient_check: bool = True


@dataclass
class TrainingStep:
    step: int
    losses: Dict[str, float]
    metrics: Dict[str, float]
    learning_rate: float
    gradient_norm: float
    batch_time: float


@dataclass
class EvaluationResult:
    step: int
    vqa_metrics: Dict[str, float]


class MultimodalLoss(nn.Module):
    def __init__(self, config: MultimodalTrainingConfig):
        super().__init__()
        self.config = config

    def forward(self, primary: torch.Tensor, coverage: CoverageMetrics, consistency: ConsistencyMetrics):
        config = self.config
        covered = (coverage.overall_score - 0.7).pow(2).mean()
        consistent = (consistency.overall_score - 0.8).pow(2).mean()
        total = config.primary_loss_weight * primary + config.coverage_loss_weight * covered
        return total + config.consistency_loss_weight * consistent


class MultimodalTrainer:
    def __init__(
        self,
        model: MultimodalController,
        vision_encoder: VisionEncoder,
        preprocessor: VisionPreprocessor,
        consistency_gate: ConsistencyGate,
        config: MultimodalTrainingConfig,
        output_dir: str = "outputs/multimodal_training",
    ):
        self.model, self.vision_encoder, self.preprocessor = model, vision_encoder, preprocessor
        self.gate, self.config, self.output_dir = consistency_gate, config, Path(output_dir)
        self.output_dir.mkdir(parents=True, exist_ok=True)
        self.loss = MultimodalLoss(config)
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.scheduler = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer,
            max_lr=config.learning_rate,
            total_steps=config.max_steps,
            pct_start=config.warmup_steps / config.max_steps,
        )
        self.step = 0

    def train_step(self, batch: List[Dict[str, Any]]) -> float:
        self.model.train()
        features = self.vision_encoder(self.vision_encoder.preprocess_images([row["image"] for row in batch]))
        hidden = torch.randn(len(batch), 128, self.config.controller_dim)
        code = self.model(hidden, vision_features=features)
        coverage, consistency = self.gate.coverage(features), self.gate.consistency(features, hidden.mean(dim=1))
        total = self.loss(code.pow(2).mean(), coverage, consistency)
        (total / self.config.gradient_accumulation_steps).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.gradient_clip_norm)
        if (self.step + 1) % self.config.gradient_accumulation_steps == 0:
            self.optimizer.step()
            self.scheduler.step()
            self.optimizer.zero_grad()
        self.step += 1
        return float(total)

    def train(self, train_dataset: List[Dict[str, Any]], eval_dataset=None, resume_from: Optional[str] = None) -> None:
        while self.step < self.config.max_steps:
            self.train_step(random.choices(train_dataset, k=self.config.batch_size))
            if self.step % self.config.save_steps == 0:
                self.save_checkpoint(self.step)
        self.save_checkpoint(self.step)

    def save_checkpoint(self, step: int) -> None:
        state = {
            "step": step,
            "model_state_dict": self.model.state_dict(),
            "optimizer_state_dict": self.optimizer.state_dict(),
            "scheduler_state_dict": self.scheduler.state_dict(),
            "config": asdict(self.config),
        }
        torch.save(state, self.output_dir / f"checkpoint_step_{step}.pt")


def create_multimodal_trainer(
    model: MultimodalController,
    vision_encoder: VisionEncoder,
    preprocessor: VisionPreprocessor,
    consistency_gate: ConsistencyGate,
    config: Optional[Dict[str, Any]] = None,
    output_dir: str = "outputs/multimodal_training",
) -> MultimodalTrainer:
    settings = MultimodalTrainingConfig(**(config or {}))
    settings.learning_rate = float(settings.learning_rate)  # YAML reads 1e-4 as text
    return MultimodalTrainer(model, vision_encoder, preprocessor, consistency_gate, settings, output_dir)
