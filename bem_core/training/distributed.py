"""The processes of one run: who is who, what they agree on, how the model is spread over them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among those of the run.

    Attributes:
        rank: Number of this process.
        world: Number of processes.
        local_rank: Number of this process on its machine.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    @property
    def spread(self) -> bool:
        """Whether there are other processes."""
        return self.world > 1

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum over all processes; it waits for them."""
        if self.spread:
            dist.all_reduce(values)
        return values

    def sum_numbers(self, values: list[float]) -> list[float]:
        """Return the sums over all processes of numbers that the host knows, without waiting for the device."""
        summed: list[float] = self.sum(torch.tensor(values, dtype=torch.float64)).tolist()
        return summed

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.spread:
            dist.barrier()

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes, on each of them."""
        if not self.spread:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values


def join(device: torch.device) -> Ranks:
    """Return this process's place, and join the others when `torchrun` started several.

    Args:
        device: Decides the backend: NCCL for tensors on CUDA, Gloo for those on the host.
    """
    if "RANK" not in os.environ or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Ranks()
    if not dist.is_initialized():
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    return Ranks(dist.get_rank(), dist.get_world_size(), int(os.environ.get("LOCAL_RANK", "0")))
