"""Tensors that are spread over the ranks, in the tree of a checkpoint: put together for it, and dealt out from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, Shard, distribute_tensor, zeros

from bem_core.training.distributed import Ranks

Keys = tuple[Any, ...]
Tree = dict[str, Any]
# What both the format of the shards and torch's reader of it know.
_STORABLE = {torch.float64, torch.float32, torch.float16, torch.bfloat16}
_STORABLE |= {torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8}


def map_tensors(change: Callable[[Keys, Any], Any], value: Any, kind: type = Tensor, keys: Keys = ()) -> Any:
    """Return a copy of nested values in which each one of a kind is changed; ``change`` gets the keys that lead to it.

    Entries for which it returns `DROPPED` are left out of their mapping.
    """
    if isinstance(value, kind):
        return change(keys, value)
    if isinstance(value, Mapping):
        mapped = {key: map_tensors(change, one, kind, (*keys, key)) for key, one in value.items()}
        return {key: one for key, one in mapped.items() if one is not DROPPED}
    if isinstance(value, list | tuple):
        items = [map_tensors(change, one, kind, (*keys, number)) for number, one in enumerate(value)]
        return items if isinstance(value, list) else tuple(items)
    return value


DROPPED = object()


def whole(tree: Tree, ranks: Ranks) -> Tree:
    """Return a tree with each spread tensor put together, in the memory of the host of the first rank.

    All ranks have to call it; on the others these tensors are left out. One tensor at a time is whole on the device.
    """

    def gather(keys: Keys, tensor: Tensor) -> Any:
        if not isinstance(tensor, DTensor):
            return tensor
        full = tensor.full_tensor()
        return full.cpu() if ranks.is_main else DROPPED

    return dict(map_tensors(gather, tree))


def split(tree: Tree) -> tuple[Tree, dict[str, DTensor], list[Any]]:
    """Take the tensors that are sharded by rows out of a tree.

    Returns:
        The tree without them; the tensors by name; and for each its keys, name, shape and type, which JSON can hold.
    """
    shards: dict[str, DTensor] = {}
    index: list[Any] = []

    def take(keys: Keys, tensor: Tensor) -> Any:
        if not isinstance(tensor, DTensor) or tensor.placements != (Shard(0),) or tensor.dtype not in _STORABLE:
            return tensor
        name = "/".join(map(str, keys))
        shards[name] = tensor
        index.append([list(keys), name, list(tensor.shape), str(tensor.dtype).removeprefix("torch.")])
        return DROPPED

    return dict(map_tensors(take, tree)), shards, index


class Layout:
    """Where the tensors of a checkpoint belong: with the parameter that they are, or are the optimizer's state of.

    Args:
        model: Spread or not.
        device: For what belongs to no sharded parameter.
    """

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self._device = device
        self._owners = {name: value for name, value in model.state_dict().items() if isinstance(value, DTensor)}

    def empty(self, keys: Keys, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        """Return a tensor of zeros, spread as the one at these keys of the tree is to be."""
        owner = self._owner(keys)
        if owner is None or shape != owner.shape:
            return torch.zeros(shape, dtype=dtype, device=self._device if owner is None else _local_device(owner))
        mesh, placements = owner.device_mesh, owner.placements
        made: DTensor = zeros(*shape, dtype=dtype, device_mesh=mesh, placements=placements)
        return _like(made, owner)

    def deal(self, keys: Keys, tensor: Tensor | None, spec: Spec) -> Tensor:
        """Return the tensor at these keys, or this rank's part of it, from the first rank, which has it."""
        owner = self._owner(keys)
        device = self._device if owner is None else torch.device(owner.device_mesh.device_type)
        full = torch.empty(spec.shape, dtype=spec.dtype, device=device) if tensor is None else tensor.to(device)
        if owner is not None and spec.shape == owner.shape:
            return _like(distribute_tensor(full, owner.device_mesh, owner.placements), owner)
        full = full.contiguous()
        if full.numel():
            # As bytes, because not every backend knows every type.
            dist.broadcast(full.view(-1).view(torch.uint8), 0)
        return full if owner is None else full.to(_local_device(owner))

    def _owner(self, keys: Keys) -> DTensor | None:
        match keys:
            case ("model" | "rollback", *path, name) if path in ([], ["weights"]):
                return self._owners.get(name)
            case ("optimizer" | "dual", "state", name, _):
                return self._owners.get(name)
        return None


def _local_device(tensor: DTensor) -> torch.device:
    return tensor.to_local().device


def _like(tensor: DTensor, owner: DTensor) -> DTensor:
    """Return the tensor with its part where the owner has its own, which is the host where parameters are offloaded."""
    local, device = tensor.to_local(), _local_device(owner)
    if local.device == device:
        return tensor
    mesh, placements = tensor.device_mesh, tensor.placements
    return DTensor.from_local(local.to(device), mesh, placements, shape=tensor.shape, stride=tensor.stride())


@dataclass(frozen=True, slots=True)
class Spec:
    """Shape and type of a tensor that the first rank has."""

    shape: torch.Size
    dtype: torch.dtype


def deal(tree: Tree | None, ranks: Ranks, layout: Layout) -> Tree:
    """Return the tree of the first rank on all of them, with each tensor spread as the model here needs it.

    Args:
        tree: None on the other ranks, which need not see the files that it comes from.
        ranks: The processes.
        layout: Says how tensors are spread.
    """
    tensors: list[Tensor] = []

    def describe(keys: Keys, tensor: Tensor) -> Spec:
        tensors.append(tensor)
        return Spec(tensor.shape, tensor.dtype)

    described = ranks.broadcast(None if tree is None else map_tensors(describe, tree))
    left = iter(tensors)
    return dict(
        map_tensors(lambda keys, spec: layout.deal(keys, next(left) if ranks.is_main else None, spec), described, Spec)
    )
