"""What is measured of an adapted model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from bem2.perftrack.losses import Objective, targets_of
from bem_core.config.base_config import EvaluationConfig
from bem_core.evaluation import BaseEvaluator, metrics
from bem_core.evaluation.costs import count_parameters
from bem_core.utils.texts import IGNORED


class PerformanceEvaluator(BaseEvaluator):
    """Loss, accuracy and cost of a language model with adapters.

    It measures ``loss`` (that of training, of each batch), ``cross_entropy`` and ``accuracy`` of the next token, each
    sample counting the same, ``trained_parameters`` and ``trained_share``; with ``evaluation.track_latency`` latencies
    and tokens per second too. Perplexity and other registered metrics read ``nll`` and ``num_tokens`` of each sample.

    Metrics of texts, such as exact match or chrF, compare the tokens that are most probable, each after the true ones
    before it, with the true ones.

    Args:
        model: With adapters.
        objective: Its loss.
        config: The section ``evaluation``.
        decode: Makes a text of tokens; by default their numbers with spaces between them.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        config: EvaluationConfig | Mapping[str, Any] | None = None,
        decode: Callable[[list[int]], str] | None = None,
    ) -> None:
        super().__init__(model, config)
        self._objective = objective
        self._decode = decode or _numbers
        # Texts make the host wait for the device.
        self._texts = any("predictions" in metrics.create(name).needs for name in self._plan.registered)
        trained = float(count_parameters(model, trainable_only=True))
        self._costs = {"trained_parameters": trained, "trained_share": trained / count_parameters(model)}

    def _run_inference(self, batch: Any) -> Mapping[str, Any]:
        logits = self.model(batch["input_ids"], attention_mask=batch.get("attention_mask")).logits
        targets = targets_of(batch["labels"])
        losses = functional.cross_entropy(logits.transpose(1, 2), targets, reduction="none", ignore_index=IGNORED)
        counted, likely = targets != IGNORED, logits.argmax(dim=-1)
        texts = self._pairs(likely, targets, counted) if self._texts else {}
        return {
            **texts,
            "objective": self._objective(logits, batch["labels"])["loss"],
            "nll": losses.sum(dim=1),
            "num_tokens": counted.sum(dim=1),
            "right": ((likely == targets) & counted).sum(dim=1),
        }

    def _pairs(self, likely_BL: Tensor, targets_BL: Tensor, counted_BL: Tensor) -> dict[str, list[str]]:
        def texts(tokens_BL: Tensor) -> list[str]:
            rows = zip(tokens_BL, counted_BL, strict=True)
            return [self._decode(tokens[counted].tolist()) for tokens, counted in rows]

        return {"predictions": texts(likely_BL), "references": texts(targets_BL)}

    def _compute_component_metrics(self, outputs: Mapping[str, Any], batch: Any) -> dict[str, Tensor | float]:
        tokens = outputs["num_tokens"].clamp_min(1)
        return {
            "loss": outputs["objective"],
            "cross_entropy": outputs["nll"] / tokens,
            "accuracy": outputs["right"].double() / tokens,
            **self._costs,
        }


def _numbers(tokens: list[int]) -> str:
    return " ".join(map(str, tokens))
