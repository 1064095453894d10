"""Trains one of the four variants of the performance track on a frozen language model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn
from torch.optim import Optimizer

from bem2.perftrack.budget import check_budget
from bem2.perftrack.data import loaders_of
from bem2.perftrack.evaluation import PerformanceEvaluator
from bem2.perftrack.losses import Objective, known_weights, targets_of
from bem2.perftrack.spectral import SpectralPenalty
from bem2.perftrack.variants import adapt, with_groups
from bem2.perftrack.wrapping import adapters
from bem_core.config import loss_weights
from bem_core.evaluation.costs import count_parameters
from bem_core.models import load_base_model, load_tokenizer
from bem_core.training.base_trainer import BaseTrainer
from bem_core.training.foreign import LegacyCheckpoint
from bem_core.training.optim import make_optimizer, parameter_groups
from bem_core.utils.texts import IGNORED


class PerformanceTrainer(BaseTrainer):
    """Trains adapters; ``variant_id`` says which: ``PT1`` to ``PT4``.

    Attributes:
        objective: The loss.
    """

    objective: Objective

    #: The loop of the old PTTrainer.
    legacy_options: ClassVar[Mapping[str, Any]] = {
        "data.randomness": "global",
        "training.batch_source": "fresh_loader",
        "training.zero_grad": "before_forward",
        "training.no_decay": [],
        "training.scheduler_type": "cosine_annealing",
        "training.eval_start": 1,
        "training.eval_rng": "shared",
    }
    legacy_checkpoint = LegacyCheckpoint(
        names={
            r"^base_model\.": "",
            r"\.attention_extractor\.attention_processor\.": ".features.",
            r"\.retrieval_scorer\.quality_scorer\.": ".quality.",
            r"\.gate_network\.": ".gates.",
            r"\.instance_controller\.(adaptation)_net\.": r".\1.",
            r"\.instance_controller\.": ".",
            r"\.mask_controller\.hadamard_transform\.": ".hadamard.",
        },
        # Vectors of power iterations, which the old modules had no use for.
        kept=(r".*norm\.vectors",),
        # What the old modules counted and averaged without using it.
        dropped=(
            r".*\.spectral_gov\..*",
            r".*\.attention_(var_)?ema",
            r".*\.(flop|param)_count",
            r".*\.([uv]_orthogonality|factor_diversity)",
            r".*\.(modulation_magnitude|output_variance)_ema",
        ),
        optimizer="optimizer_state_dicts.{variant}",
        scheduler="scheduler_state_dicts.{variant}",
        # It counted from 0, and saved after the step.
        progress=lambda saved: {"step": saved["global_step"] + 1},
    )

    def _setup_model(self) -> nn.Module:
        model = self._base_model()
        common = adapt(model, self.config)
        check_budget(model, self.config)
        trained = [one for one in model.parameters() if one.requires_grad]
        penalty = SpectralPenalty(trained, common.spectral_bound, iterations=common.power_iterations)
        weights = loss_weights(self.config, known_weights(adapters(model)))
        self.objective = Objective(model, penalty, weights)
        self._decode = load_tokenizer(self.config).decode if self.config.data.train_file else None
        return model

    def _base_model(self) -> nn.Module:
        """Return the model that gets adapters; for models that `model.base_model` cannot name, override it."""
        return load_base_model(self.config)

    def _setup_optimizer(self) -> Optimizer:
        training = with_groups(self.config)
        return make_optimizer(parameter_groups(self.model, training), training)

    def _setup_dataloaders(self) -> tuple[Any, Any]:
        known: Any = getattr(self.model, "config", None)
        limit = getattr(known, "context_length", None) or getattr(known, "max_position_embeddings", None)
        return loaders_of(self.config, known.vocab_size, limit)

    def _forward(self, batch: Any) -> Any:
        return self.wrapped_model(batch["input_ids"], attention_mask=batch.get("attention_mask"))

    def _compute_loss(self, batch: Any, outputs: Any) -> dict[str, Any]:
        return self.objective(outputs.logits, batch["labels"])

    def _evaluate(self, dataloader: Any) -> dict[str, float]:
        evaluator = PerformanceEvaluator(self.model, self.objective, self.config.evaluation, self._decode)
        result = evaluator.evaluate(dataloader)
        timed = result.latency is not None or result.peak_memory_bytes is not None
        return result.flat() if timed else result.metrics | {"num_samples": float(result.num_samples)}

    def _loss_weight(self, batch: Any) -> float:
        if self.config.training.loss_weight in ("auto", "tokens"):
            return int((targets_of(batch["labels"]) != IGNORED).sum())
        return super()._loss_weight(batch)

    @torch.no_grad()
    def _metrics(self) -> dict[str, float]:
        return {"trained_parameters": float(count_parameters(self.model, trainable_only=True))}

    def _state(self) -> dict[str, Any]:
        return {"penalty": self.objective.penalty.state()}

    def _load_state(self, state: dict[str, Any]) -> None:
        self.objective.penalty.load(state["penalty"])
