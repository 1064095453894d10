"""A copy of a checkpoint's tensors that stays as it is while training goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from bem_core.training.checkpoint_tree import Part


@torch.no_grad()
def snapshot(parts: Sequence[Part]) -> list[Part]:
    """Copy all tensors to the CPU, to pinned memory from CUDA, where the copies run at once and are waited for here."""
    copies = [replace(part, tensors={name: _copy(tensor) for name, tensor in part.tensors.items()}) for part in parts]
    if torch.cuda.is_available() and any(tensor.is_cuda for part in parts for tensor in part.tensors.values()):
        torch.cuda.synchronize()
    return copies


def _copy(tensor: Tensor) -> Tensor:
    copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
    return copy.copy_(tensor, non_blocking=tensor.is_cuda)
