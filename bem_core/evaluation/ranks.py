"""What evaluation asks the other ranks of a distributed run."""

from __future__ import annotations

from typing import Any, TypeVar

import torch.distributed as dist

T = TypeVar("T")


def rank_and_size() -> tuple[int, int]:
    """Return the number of this rank and how many there are; ``(0, 1)`` outside of a distributed run."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def gather(value: T) -> list[T]:
    """Return the values of all ranks, in their order, on every rank; each must call this.

    They are pickled. With NCCL the CUDA device of this process must be set.
    """
    size = rank_and_size()[1]
    if size == 1:
        return [value]
    values: list[Any] = [None] * size
    dist.all_gather_object(values, value)
    return values


def share(total: int, rank: int, size: int) -> int:
    """Return how many of the first ``total`` samples a rank has, where sample ``i`` is on rank ``i % size``."""
    return len(range(rank, total, size))
