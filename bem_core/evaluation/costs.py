"""What a model costs: parameters and floating-point operations, counted rather than estimated."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bem_core.evaluation.modes import evaluation_mode

T = TypeVar("T")


def count_parameters(model: nn.Module, *, trainable_only: bool = False) -> int:
    """Return the number of parameters; one that two modules share counts once, a sharded one as a whole."""
    return sum(one.numel() for one in model.parameters() if one.requires_grad or not trainable_only)


def count_flops(function: Callable[[], T]) -> tuple[int, T]:
    """Call ``function`` and return the floating-point operations of its matrix products, convolutions and attention.

    A multiplication and an addition are two. What ``torch.utils.flop_counter`` does not know, such as element-wise
    operations, counts nothing.

    Returns:
        The count, and what the function returned.
    """
    counter = FlopCounterMode(display=False)
    with counter:
        made = function()
    return counter.get_total_flops(), made


def forward_flops(model: nn.Module, *inputs: torch.Tensor) -> int:
    """Return the floating-point operations of one forward pass in evaluation mode, without gradients."""
    with evaluation_mode(model), torch.inference_mode():
        return count_flops(lambda: model(*inputs))[0]
