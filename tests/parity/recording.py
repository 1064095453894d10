"""Records a training from outside: losses, learning rates, parameters, state of optimizers and generators.

It needs torch and numpy only, so that the old repository, whose packages have the names of ours, can use it in a
process of its own: put this folder on ``PYTHONPATH`` and ``import recording``.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook

Record = dict[str, Any]


class Differs(AssertionError):
    """Two records are not the same."""


@contextmanager
def recording(path: Path | str | None = None) -> Iterator[list[Record]]:
    """Record every `Tensor.backward` and every step of an optimizer.

    Args:
        path: Where the record is saved at the end.

    Yields:
        The record, which grows: a mapping for each event, in order.
    """
    events: list[Record] = []
    original = Tensor.backward

    def backward(self: Tensor, *args: Any, **kwargs: Any) -> None:
        events.append({"event": "backward", "loss": self.detach().double().cpu().sum().item()})
        original(self, *args, **kwargs)

    hook = register_optimizer_step_post_hook(lambda optimizer, args, kwargs: events.append(_step(optimizer)))
    Tensor.backward = backward  # type: ignore[method-assign]
    try:
        yield events
    finally:
        Tensor.backward = original  # type: ignore[method-assign]
        hook.remove()
        if path is not None:
            torch.save(events, path)


def _step(optimizer: Optimizer) -> Record:
    groups = optimizer.param_groups
    parameters = [parameter for group in groups for parameter in group["params"]]
    return {
        "event": f"step of {type(optimizer).__name__}",
        "lr": [float(group["lr"]) for group in groups],
        "betas": [tuple(group.get("betas", ())) for group in groups],
        "parameters": [digest(parameter) for parameter in parameters],
        "state": [_state(optimizer.state.get(parameter, {})) for parameter in parameters],
        "rng": generators(),
    }


def _state(state: dict[str, Any]) -> str:
    parts = [
        f"{name}={digest(value) if isinstance(value, Tensor) else value!r}" for name, value in sorted(state.items())
    ]
    return " ".join(parts)


def digest(tensor: Tensor) -> str:
    """Return a hash of type, shape and bytes."""
    data = tensor.detach().cpu().contiguous()
    head = f"{data.dtype} {tuple(data.shape)} ".encode()
    return hashlib.sha1(head + data.reshape(-1).view(torch.uint8).numpy().tobytes()).hexdigest()[:16]


def generators() -> dict[str, str]:
    """Return a hash of the state of each global generator."""
    name, keys, *rest = np.random.get_state()
    numpy = hashlib.sha1(f"{name} {rest} ".encode() + np.asarray(keys).tobytes()).hexdigest()[:16]
    python = hashlib.sha1(repr(random.getstate()).encode()).hexdigest()[:16]
    return {"torch": digest(torch.get_rng_state()), "numpy": numpy, "python": python}


def load(path: Path | str) -> list[Record]:
    """Read a record that `recording` saved."""
    return torch.load(path, weights_only=True)  # type: ignore[no-any-return]


def compare(reference: list[Record], candidate: list[Record]) -> int:
    """Compare two records, event by event and field by field.

    Returns:
        How many steps of optimizers are the same.

    Raises:
        Differs: With the number of the step, the event and the field at which they first differ.
    """
    steps = 0
    for number, (old, new) in enumerate(zip(reference, candidate, strict=False)):
        for field in dict.fromkeys((*old, *new)):
            if old.get(field) != new.get(field):
                where = f"event {number} ({old['event']}, after {steps} steps), {field}"
                raise Differs(f"{where}: {_first(old.get(field), new.get(field))}")
        steps += old["event"] != "backward"
    if len(reference) != len(candidate):
        raise Differs(f"the reference has {len(reference)} events, the candidate {len(candidate)}")
    return steps


def _first(old: Any, new: Any) -> str:
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        at = next(place for place, (one, other) in enumerate(zip(old, new, strict=True)) if one != other)
        return f"number {at}: {old[at]!r} and {new[at]!r}"
    return f"{old!r} and {new!r}"
