"""What each micro-batch counts in its step, so that a step equals one on the concatenated batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence, Sized
from typing import Any

import torch
from torch import Tensor

from bem_core.errors import TrainingError

IGNORED = -100


def num_samples(batch: Any) -> int:
    """Return the samples of a batch: the length of the first tensor or list in it."""
    if isinstance(batch, Tensor):
        return batch.shape[0] if batch.dim() else 1
    values = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, list | tuple) else ()
    for value in values:
        if isinstance(value, Tensor) and value.dim():
            return value.shape[0]
    for value in values:
        if isinstance(value, Sized) and not isinstance(value, str | Mapping | Tensor):
            return len(value)
    return 1


def num_tokens(batch: Any) -> int:
    """Return the labels of a batch that count: those that are not -100, in ``batch["labels"]``.

    Raises:
        TrainingError: The batch has no labels.
    """
    labels = batch.get("labels") if isinstance(batch, Mapping) else None
    if not isinstance(labels, Tensor):
        raise TrainingError("training.loss_weight: tokens needs batches that are mappings with a tensor 'labels'")
    return int((labels != IGNORED).sum())


def auto_weight(batch: Any) -> int:
    """Return the labels that count of a batch with integers as labels, the samples of any other."""
    labels = batch.get("labels") if isinstance(batch, Mapping) else None
    classes = isinstance(labels, Tensor) and labels.dim() and not labels.is_floating_point()
    return num_tokens(batch) if classes else num_samples(batch)


WEIGHTS: dict[str, Callable[[Any], float]] = {
    "auto": auto_weight,
    "tokens": num_tokens,
    "samples": num_samples,
    "equal": lambda batch: 1,
}


def divisors(weights: Sequence[float], total: float, world: int = 1) -> list[float] | None:
    """Return what the losses of a window are divided by; None where the only one is 1.

    The weighted mean of the losses of all micro-batches is the loss of the concatenated batch when each loss is a mean
    over what its weight counts. Equal weights give their number, so the result is that of ``loss / num_batches`` to the
    last bit.

    Args:
        weights: Of the micro-batches of this rank.
        total: Sum of the weights on all ranks.
        world: Ranks whose gradients are averaged.
    """
    if len(weights) == 1 and world == 1:
        return None
    return [total / (weight * world) if weight else math.inf for weight in weights]


def without_empty(window: list[Any], weights: Sequence[float]) -> list[Any]:
    """Return a window in which micro-batches that count nothing are copies of one that does, where there is one.

    On several ranks none can be left out, since the others wait; and the mean over nothing is not a number, also when
    it is divided by infinity.
    """
    full = next((batch for batch, weight in zip(window, weights, strict=True) if weight), None)
    return window if full is None else [one if weight else full for one, weight in zip(window, weights, strict=True)]


def check_losses(parts: Any) -> None:
    """See that a component returned what it must.

    Raises:
        TrainingError: It did not.
    """
    if not isinstance(parts, dict) or "loss" not in parts:
        found = f"a mapping with {', '.join(map(repr, parts))}" if isinstance(parts, dict) else type(parts).__name__
        raise TrainingError(f"_compute_loss: expected a dict with 'loss', got {found}")
    loss = parts["loss"]
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        shape = f" of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else ""
        raise TrainingError(f"_compute_loss: expected 'loss' to be a scalar tensor, got {type(loss).__name__}{shape}")
    if not loss.requires_grad:
        raise TrainingError("_compute_loss: 'loss' does not depend on any parameter that is trained")
    for name, value in parts.items():
        if not isinstance(value, Tensor | int | float) or (isinstance(value, Tensor) and value.numel() != 1):
            raise TrainingError(f"_compute_loss: expected {name!r} to be a scalar, got {type(value).__name__}")


def detached(parts: dict[str, Any], divisor: float | None) -> dict[str, Tensor]:
    """Return the parts of a loss without their graph, divided as that of their micro-batch is."""
    values = {
        name: value.detach() if isinstance(value, Tensor) else torch.tensor(float(value))
        for name, value in parts.items()
    }
    return values if divisor is None else {name: value / divisor for name, value in values.items()}
