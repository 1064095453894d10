"""What a model costs: parameters and floating-point operations, counted rather than estimated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from bem_core.evaluation.modes import evaluation_mode

T = TypeVar("T")
Shape = tuple[int, ...]


def count_parameters(model: nn.Module, *, trainable_only: bool = False) -> int:
    """Return the number of parameters; one that two modules share counts once, a sharded one as a whole."""
    return sum(one.numel() for one in model.parameters() if one.requires_grad or not trainable_only)


def _attention(query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    count: int = sdpa_flop_count(query, key, value)  # type: ignore[no-untyped-call]
    return count


# What torch counts on a GPU and, as of 2.13, forgets on a CPU.
_MORE = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention}


def count_flops(function: Callable[[], T]) -> tuple[int, T]:
    """Call ``function`` and return the floating-point operations of its matrix products, convolutions and attention.

    A multiplication and an addition are two. What ``torch.utils.flop_counter`` does not know counts nothing:
    element-wise operations, kernels of one's own, and recurrent layers that cuDNN does in one piece.

    Returns:
        The count, and what the function returned.
    """
    counter = FlopCounterMode(display=False, custom_mapping=_MORE)
    with _unfused(), counter:
        made = function()
    return int(counter.get_total_flops()), made


@contextmanager
def _unfused() -> Iterator[None]:
    """Make transformer and recurrent layers call the operations that are counted, and not one for the whole layer."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    # Not its `flags`, which set TF32 too and warn about it.
    onednn = torch.backends.mkldnn.set_flags(False)  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        torch.backends.mkldnn.set_flags(onednn[0])  # type: ignore[no-untyped-call]
        torch.backends.mha.set_fastpath_enabled(fast)


def forward_flops(model: nn.Module, *inputs: torch.Tensor) -> int:
    """Return the floating-point operations of one forward pass in evaluation mode, without gradients."""
    with evaluation_mode(model), torch.inference_mode():
        return count_flops(lambda: model(*inputs))[0]
