"""Batches as samples: how many one has, and parts of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

Index = slice | list[int]


def count(batch: Any) -> int | None:
    """Return the number of samples of a batch: the first dimension of its first tensor, else the length of a list.

    None when it holds neither.
    """
    if isinstance(batch, dict):
        # The usual case, and the loop over batches is to cost nothing beside the model.
        for value in batch.values():
            if isinstance(value, Tensor) and value.ndim:
                return value.shape[0]
    sizes = _sizes(batch)
    return next((size for size, tensor in sizes if tensor), sizes[0][0] if sizes else None)


def _sizes(batch: Any) -> list[tuple[int, bool]]:
    if isinstance(batch, Tensor):
        return [(batch.shape[0], True)] if batch.ndim else []
    if isinstance(batch, Mapping):
        return [size for value in batch.values() for size in _sizes(value)]
    if isinstance(batch, list | tuple):
        inner = [size for value in batch for size in _sizes(value)]
        return inner if any(tensor for _, tensor in inner) else [(len(batch), False)]
    return []


def is_per_sample(value: Any, size: int) -> bool:
    """Tell whether ``value`` is a tensor or a list with one entry for each of ``size`` samples."""
    if isinstance(value, Tensor):
        return value.ndim > 0 and value.shape[0] == size
    return isinstance(value, list | tuple) and len(value) == size and not _is_columns(value, size)


def _is_columns(value: list[Any] | tuple[Any, ...], size: int) -> bool:
    """Tell whether a list is one of columns, such as inputs and labels, and not one entry a sample."""
    return bool(value) and all(isinstance(one, Tensor | Mapping) and count(one) == size for one in value)


def take(value: Any, index: Index, size: int) -> Any:
    """Return the samples of a batch at ``index``; what does not belong to single samples stays as it is.

    Args:
        value: A tensor, or mappings, lists and tuples (named ones too) of tensors and other values.
        index: Which samples.
        size: The number of samples of the whole batch.
    """
    if isinstance(value, Mapping):
        return {key: take(one, index, size) for key, one in value.items()}
    if is_per_sample(value, size):
        if isinstance(value, Tensor) or isinstance(index, slice):
            return value[index]
        return [value[number] for number in index]
    if isinstance(value, list | tuple):
        taken = [take(one, index, size) for one in value]
        return type(value)(*taken) if hasattr(value, "_fields") else type(value)(taken)
    return value
