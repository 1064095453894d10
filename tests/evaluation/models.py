"""A small classifier, its evaluator, and batches for tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bem_core.evaluation import BaseEvaluator

WIDTH, CLASSES = 4, 3


class Classifier(BaseEvaluator):
    """Classes, probabilities and losses of batches with ``x`` and ``labels``; measures its confidence."""

    def _run_inference(self, batch: Any) -> Mapping[str, Any]:
        logits = self.model(batch["x"])
        return {
            "predictions": logits.argmax(1),
            "probabilities": logits.softmax(1),
            "loss": nn.functional.cross_entropy(logits, batch["labels"], reduction="none"),
        }

    def _compute_component_metrics(self, outputs: Mapping[str, Any], batch: Any) -> Mapping[str, Tensor]:
        return {"confidence": outputs["probabilities"].amax(1)}


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(WIDTH, 8), nn.Dropout(0.5), nn.Linear(8, CLASSES))


def batches(*sizes: int, seed: int = 0) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(seed)
    return [
        {
            "x": torch.randn(size, WIDTH, generator=generator),
            "labels": torch.randint(CLASSES, (size,), generator=generator),
            "coverage": torch.rand(size, generator=generator),
            "domain": [("wiki", "news")[number % 2] for number in range(size)],
        }
        for size in sizes
    ]
