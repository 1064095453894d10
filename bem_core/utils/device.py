"""Devices: choosing one, moving batches to it, waiting for it, its peak memory."""

from __future__ import annotations

import copy
import resource
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import torch
from torch import Tensor

from bem_core.errors import BemError, nearest

KINDS = ("auto", "cpu", "cuda", "mps")


class DeviceError(BemError):
    """A device that was asked for does not exist here."""


def pick_device(name: str | None = "auto", index: int | None = None) -> torch.device:
    """Return the device that a configuration names.

    Args:
        name: ``auto`` (or None) takes CUDA, then MPS, then the CPU; also ``cuda:1``.
        index: Number of the CUDA device where the name has none, such as the local rank.

    Raises:
        DeviceError: There is no such device here.
    """
    kind, _, number = (name or "auto").partition(":")
    if kind not in KINDS or (number and not number.isdecimal()):
        raise DeviceError(f"unknown device {name!r}{nearest(kind, KINDS) or '; there are ' + ', '.join(KINDS)}")
    if kind == "auto":
        kind = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if kind == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("device 'mps' is not available: this torch or this machine has no Metal; use 'cpu' or 'auto'")
    if kind != "cuda":
        return torch.device(kind)
    chosen = int(number) if number else index or 0
    count = torch.cuda.device_count()
    if chosen >= count:
        found = f"there are {count} CUDA devices" if count else "no CUDA device is visible"
        raise DeviceError(f"device 'cuda:{chosen}' is not available: {found}; use 'cpu' or 'auto'")
    return torch.device("cuda", chosen)


def move(batch: Any, device: torch.device, *, non_blocking: bool = True) -> Any:
    """Return a batch with each of its tensors on ``device``; what is no tensor stays as it is.

    Args:
        batch: A tensor, or mappings, lists and tuples (named ones too) of tensors and other values. A mapping that is
            no dict, such as the batches of tokenizers, keeps its type where it can be copied and changed.
        device: Where to.
        non_blocking: Whether the host goes on while pinned memory is copied.
    """
    if isinstance(batch, Tensor):
        return batch if batch.device == device else batch.to(device, non_blocking=non_blocking)
    if isinstance(batch, Mapping):
        changed = {key: move(value, device, non_blocking=non_blocking) for key, value in batch.items()}
        return changed if type(batch) is dict else _replaced(batch, changed)
    if isinstance(batch, list | tuple):
        moved = [move(value, device, non_blocking=non_blocking) for value in batch]
        return type(batch)(*moved) if hasattr(batch, "_fields") else type(batch)(moved)
    return batch


def _replaced(batch: Mapping[Any, Any], values: dict[Any, Any]) -> Any:
    """Return a mapping of the same type with other values under the same keys; a dict where that cannot be made."""
    if not isinstance(batch, MutableMapping):
        return values
    made = copy.copy(batch)
    for key, value in values.items():
        made[key] = value
    return made


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all that was asked of it; on a CPU there is nothing to wait for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def reset_peak_memory(device: torch.device) -> None:
    """Start `peak_memory_bytes` anew; without effect on a CPU, where the system counts the whole life of a process."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory_bytes(device: torch.device) -> int:
    """Return the most memory in use so far: that of tensors on CUDA or MPS, of the whole process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if device.type == "mps":
        return torch.mps.driver_allocated_memory()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
