"""The router on the shared training loop."""

from typing import Any, Dict, Optional

import torch
import torch.nn as nn
from torch.utils.data import DataLoader

from ...bem_core.training.base_trainer import BaseTrainer, TrainingConfig
from ...bem_core.evaluation.base_evaluator import BaseEvaluator, EvaluationConfig
from ...bem_core.config.base_config import ExperimentConfig

from .agentic_router import AgenticRouter
from .composition_engine import CompositionEngine


class RouterTrainer(BaseTrainer):
    def __init__(
        self, config: ExperimentConfig, output_dir: Optional[str] = None, experiment_name: Optional[str] = None
    ):
        super().__init__(config, output_dir, experiment_name)
        self.experiment_config = config

    def _setup_model(self) -> nn.Module:
        from .macro_policy import create_macro_policy

        return create_macro_policy({"hidden_dim": 64, "num_layers": 1})

    def _load_routing_data(self, path: str) -> list:
        from .trace_generator import TraceGenerator

        return TraceGenerator.load_traces(path)

    def _compute_loss(self, batch: Dict[str, Any], outputs: Any) -> Dict[str, torch.Tensor]:
        loss = nn.functional.cross_entropy(outputs["expert_logits"], batch["expert_id"])
        return {"loss": loss, "routing_loss": loss}

    def _evaluate(self, dataloader: DataLoader) -> Dict[str, float]:
        losses = [float(self._compute_loss(batch, self.model(**batch))["loss"]) for batch in dataloader]
        return {"eval_loss": sum(losses) / max(1, len(losses))}


class RouterEvaluator(BaseEvaluator):
    def _run_inference(self, batch):
        return self.model(batch["state"], sample=False)["actions"].tolist(), batch["action"].tolist()


def migrate_from_legacy_trainer(legacy_config_path: str, output_dir: str) -> RouterTrainer:
    from ...bem_core.config.config_loader import load_experiment_config

    return RouterTrainer(load_experiment_config(legacy_config_path), output_dir)
