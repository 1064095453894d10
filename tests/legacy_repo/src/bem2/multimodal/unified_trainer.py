"""Multimodal on the shared training loop."""

from dataclasses import dataclass
from typing import Any, Dict, Optional

import torch
import torch.nn as nn
from torch.utils.data import DataLoader

from ...bem_core.training.base_trainer import BaseTrainer, TrainingConfig
from ...bem_core.evaluation.base_evaluator import BaseEvaluator, EvaluationConfig
from ...bem_core.config.base_config import BaseConfig, ExperimentConfig
from .controller_integration import MultimodalController
from .vision_encoder import VisionEncoder


@dataclass
class MultimodalConfig(BaseConfig):
    vision_encoder_dim: int = 768
    freeze_vision_encoder: bool = False
    fusion_strategy: str = "concat"
    alignment_loss_weight: float = 0.1
    contrastive_temperature: float = 0.07


class MultimodalTrainer(BaseTrainer):
    def __init__(
        self,
        config: ExperimentConfig,
        multimodal_config: Optional[MultimodalConfig] = None,
        output_dir: Optional[str] = None,
        experiment_name: Optional[str] = None,
    ):
        super().__init__(config, output_dir, experiment_name)
        self.multimodal_config = multimodal_config or MultimodalConfig()

    def _setup_model(self) -> nn.Module:
        return MultimodalController(64, 8, vision_dim=self.multimodal_config.vision_encoder_dim)

    def _compute_loss(self, batch: Dict[str, Any], outputs: Any) -> Dict[str, torch.Tensor]:
        return {"loss": outputs.pow(2).mean()}

    def _evaluate(self, dataloader: DataLoader) -> Dict[str, float]:
        losses = [float(self._compute_loss(batch, self.model(**batch))["loss"]) for batch in dataloader]
        return {"eval_loss": sum(losses) / max(1, len(losses))}


class MultimodalEvaluator(BaseEvaluator):
    def _run_inference(self, batch):
        return self.model(**batch).tolist(), batch["labels"].tolist()


def migrate_from_legacy_multimodal_trainer(legacy_config_path: str, output_dir: str) -> MultimodalTrainer:
    from ...bem_core.config.config_loader import load_experiment_config

    return MultimodalTrainer(load_experiment_config(legacy_config_path), output_dir=output_dir)
