"""Loading the saved state of a model, or saying why it belongs to another one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from bem_core.errors import CheckpointError, nearest

_SHOWN = 10


def load_model_part(module: nn.Module, part: Mapping[str, Any], path: Path | str) -> None:
    """Load the state of a model; nothing of the model changes where it does not fit in all keys and shapes.

    Args:
        module: The model.
        part: What `module.state_dict` returned when it was saved.
        path: The checkpoint, for the error.

    Raises:
        CheckpointError: Keys are missing or unknown, or shapes differ; lists them.
    """
    if problems := model_mismatch(module.state_dict(), part):
        raise CheckpointError("\n  ".join([f"{path}: the checkpoint is of another model", *problems]))
    module.load_state_dict(part)


def model_mismatch(expected: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Return a line each on missing keys, unknown keys and other shapes of a state dict; none where all fits."""
    missing = [key for key in expected if key not in found]
    unknown = [key for key in found if key not in expected]
    shapes = [
        f"{key}: {_shape(found[key])}, the model has {_shape(expected[key])}"
        for key in expected
        if key in found and _shape(found[key]) != _shape(expected[key])
    ]
    lines = [
        _line("not in the checkpoint", missing),
        _line("not in the model", [f"{key}{nearest(key, missing)}" for key in unknown[:_SHOWN]], len(unknown)),
        _line("of another shape", shapes),
    ]
    return [line for line in lines if line]


def _shape(value: Any) -> str:
    return str(list(value.shape)) if isinstance(value, Tensor) else f"no tensor but {type(value).__name__}"


def _line(what: str, items: Sequence[str], count: int | None = None) -> str:
    count = len(items) if count is None else count
    if not count:
        return ""
    more = f", and {count - _SHOWN} more" if count > _SHOWN else ""
    return f"{count} {what}: {', '.join(items[:_SHOWN])}{more}"
