"""The terms of the loss.

Shapes: B questions, A answers.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from bem2.multimodal.scores import Consistency, Coverage

_CONSISTENCY_TARGET = 0.8


def answer_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy with soft targets for each question, ``(B,)``.

    Args:
        logits: ``(B, A)``.
        targets: A distribution over the answers that people gave, ``(B, A)``; all 0 for a question whose answers are
            none of the A, which then counts nothing.
    """
    return -(targets * functional.log_softmax(logits, dim=-1)).sum(dim=-1)


def coverage_loss(coverage: Coverage) -> Tensor:
    """Return the mean binary cross-entropy of score, entropy and diversity with 0.7, 0.8 and 0.6."""
    pairs = ((coverage.score, 0.7), (coverage.entropy, 0.8), (coverage.diversity, 0.6))
    return torch.stack([_bce(value, target) for value, target in pairs]).mean()


def _bce(value: Tensor, target: float) -> Tensor:
    # Diversity goes up to 2, and weights that add up to 1 can round up. Torch refuses this loss in lower precision.
    with torch.autocast(value.device.type, enabled=False):
        value = value.float()
        return functional.binary_cross_entropy(value.clamp(1e-6, 1.0 - 1e-6), torch.full_like(value, target))


def consistency_loss(consistency: Consistency) -> Tensor:
    """Return the mean squared distance of score, alignment (twice) and global-local agreement to 0.8."""
    target = torch.full_like(consistency.score, _CONSISTENCY_TARGET)
    parts = [
        functional.mse_loss(consistency.score, target),
        2 * functional.mse_loss(consistency.alignment, target),
        functional.mse_loss(consistency.global_local, target),
    ]
    return torch.stack(parts).mean()


def hallucination_loss(probabilities: Tensor, wrong: Tensor) -> Tensor:
    """Return the mean probability of naming an object that is not in the image.

    Args:
        probabilities: Of the answers, ``(B, A)``.
        wrong: 1 for answers that name such an object, ``(B, A)``.
    """
    return (probabilities * wrong).sum(dim=-1).mean()


def weighted(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Return the sum of the terms, each times its weight, in their order."""
    total: Tensor | None = None
    for name, term in terms.items():
        total = weights[name] * term if total is None else total + weights[name] * term
    if total is None:
        raise ValueError("a loss without terms")
    return total
