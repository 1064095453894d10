"""The processes of one run: who is who, what they agree on, and how they come together and part."""

from __future__ import annotations

import atexit
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from bem_core.errors import BemError, CheckpointError, TrainingError

_STARTED_BY_HAND = "torchrun sets RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT"


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among those of the run.

    Attributes:
        rank: Number of this process.
        world: Number of processes.
        local_rank: Number of this process on its machine.
        store: Where processes leave word for each other; None for one process, or a group that somebody else made.
        timeout_s: Seconds that a process waits for the others.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    store: Store | None = field(default=None, compare=False)
    timeout_s: float = 0.0

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

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes, on each of them; tensors in them must be on the CPU."""
        if not self.spread:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def broadcast(self, value: Any) -> Any:
        """Return the first process's value, on each of them; tensors in it must be on the CPU."""
        if not self.spread:
            return value
        values = [value if self.is_main else None]
        dist.broadcast_object_list(values, src=0)
        return values[0]

    @contextmanager
    def together(self) -> Iterator[None]:
        """Let all processes fail where one does: after the block, each of them raises the error of the first one.

        Where processes wait for each other inside of it, all have to come there, also those that fail.

        Raises:
            BemError: The one of this process.
            CheckpointError: That of another one.
        """
        error = None
        try:
            yield
        except BemError as own:
            error = own
        if self.spread:
            said = self.gather(None if error is None else str(error))
            first = next((rank for rank, text in enumerate(said) if text is not None), None)
            if error is None and first is not None:
                raise CheckpointError(f"rank {first}: {said[first]}")
        if error is not None:
            raise error


_store: Store | None = None


def join(device: torch.device, timeout_s: float) -> Ranks:
    """Return this process's place, and join the others when `torchrun` started several.

    The group is left when the process ends.

    Args:
        device: Decides the backend: NCCL for tensors on CUDA, Gloo for those on the host.
        timeout_s: Seconds that a process waits for the others, now and whenever they exchange something.

    Raises:
        TrainingError: The others are not there.
    """
    global _store
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if "RANK" not in os.environ or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Ranks()
    if not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        limit = timedelta(seconds=timeout_s)
        try:
            store, rank, world = next(rendezvous("env://", timeout=limit))
            dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=limit)
        except (ValueError, RuntimeError) as error:
            raise TrainingError(f"cannot join the other processes ({_STARTED_BY_HAND}): {error}") from error
        _store = PrefixStore("bem", store)
        _store.set(f"here/{rank}", f"{os.getpid()} {socket.gethostname()}")
        atexit.register(leave)
    local = int(os.environ.get("LOCAL_RANK", "0"))
    return Ranks(dist.get_rank(), dist.get_world_size(), local, _store, timeout_s)


def leave() -> None:
    """Leave the group; without effect where there is none."""
    if dist.is_initialized():
        dist.destroy_process_group()
