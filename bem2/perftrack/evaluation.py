"""What is measured of an adapted model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from bem2.perftrack.losses import Objective, targets_of
from bem_core.config.base_config import EvaluationConfig
from bem_core.evaluation import BaseEvaluator
from bem_core.evaluation.costs import count_parameters
from bem_core.utils.texts import IGNORED


class PerformanceEvaluator(BaseEvaluator):
    """Loss, accuracy and cost of a language model with adapters.

    It measures ``loss`` (that of training, of each batch), ``cross_entropy`` and ``accuracy`` of the next token, each
    sample counting the same, ``trained_parameters`` and ``trained_share``; with ``evaluation.track_latency`` latencies
    and tokens per second too. Perplexity and other registered metrics read ``nll`` and ``num_tokens`` of each sample.

    Args:
        model: With adapters.
        objective: Its loss.
        config: The section ``evaluation``.
    """

    def __init__(
        self, model: nn.Module, objective: Objective, config: EvaluationConfig | Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(model, config)
        self._objective = objective
        trained = float(count_parameters(model, trainable_only=True))
        self._costs = {"trained_parameters": trained, "trained_share": trained / count_parameters(model)}

    def _run_inference(self, batch: Any) -> Mapping[str, Any]:
        logits = self.model(batch["input_ids"], attention_mask=batch.get("attention_mask")).logits
        targets = targets_of(batch["labels"])
        losses = functional.cross_entropy(logits.transpose(1, 2), targets, reduction="none", ignore_index=IGNORED)
        counted = targets != IGNORED
        return {
            "objective": self._objective(logits, batch["labels"])["loss"],
            "nll": losses.sum(dim=1),
            "num_tokens": counted.sum(dim=1),
            "right": ((logits.argmax(dim=-1) == targets) & counted).sum(dim=1),
        }

    def _compute_component_metrics(self, outputs: Mapping[str, Any], batch: Any) -> dict[str, Tensor | float]:
        tokens = outputs["num_tokens"].clamp_min(1)
        return {
            "loss": outputs["objective"],
            "cross_entropy": outputs["nll"] / tokens,
            "accuracy": outputs["right"].double() / tokens,
            **self._costs,
        }
