"""Two checkpoints compared by what they hold: tensors by digest and distance, everything else by structure.

Bytes of files say nothing: `torch.save` of the same state under another name writes others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bem_core.errors import CheckpointError
from bem_core.training.checkpoint_store import load_tree
from bem_core.training.pickled import Record, read_pickled
from bem_core.utils.digest import digest
from migrate.verify.distances import Distance, describe, distance
from migrate.verify.names import renamed
from migrate.verify.structures import Change, Opaque, changes


@dataclass(frozen=True, slots=True)
class TensorChange:
    """A tensor that both have and that is not the same."""

    key: str
    distance: Distance


@dataclass(frozen=True, slots=True)
class CheckpointReport:
    """What two checkpoints differ in.

    Attributes:
        first: The file or folder.
        second: The other.
        digests: Logical digest of each: over keys, types, shapes and contents, in the order of keys.
        num_tensors: Tensors that both have.
        num_values: Other values that the first has.
        tensors: Those that differ.
        structure: Keys that only one has, other types and shapes, and other values.
    """

    first: str
    second: str
    digests: tuple[str, str]
    num_tensors: int
    num_values: int
    tensors: tuple[TensorChange, ...]
    structure: tuple[Change, ...]

    @property
    def same(self) -> bool:
        """Tell whether they hold the same."""
        return not self.tensors and not self.structure


def compare_checkpoints(
    first: Path, second: Path, names: Mapping[str, str] | None = None, only: str = ".*", *, own: bool = False
) -> CheckpointReport:
    """Compare two checkpoints: files of `torch.save`, safetensors files or folders of this project.

    Args:
        first: The one.
        second: The other.
        names: Patterns for whole dotted keys of the first, and what stands for them in the second, as in `re.sub`; the
            first that fits counts.
        only: Pattern; other keys are left out of both, after they were renamed.
        own: Both are of one program, and those of the second are renamed, too.

    Raises:
        CheckpointError: One cannot be read, or two keys are renamed to the same.
    """
    given = ((first, names or {}), (second, (names or {}) if own else {}))
    leaves = [_chosen(_renamed(_flat(_load(path)), some, path), only) for path, some in given]
    shared = [key for key, value in leaves[0].items() if _alike(value, leaves[1].get(key))]
    apart = [(key, distance(leaves[0][key], leaves[1][key])) for key in shared]
    found = [TensorChange(key, one) for key, one in apart if one.num_different]
    return CheckpointReport(
        str(first),
        str(second),
        (digest(dict(sorted(leaves[0].items()))), digest(dict(sorted(leaves[1].items())))),
        len(shared),
        sum(not isinstance(value, Tensor) for value in leaves[0].values()),
        tuple(found),
        tuple(changes(*(_opaque(one) for one in leaves))),
    )


def _alike(value: Any, other: Any) -> bool:
    return (
        isinstance(value, Tensor)
        and isinstance(other, Tensor)
        and (value.dtype, value.shape) == (other.dtype, other.shape)
    )


def _load(path: Path) -> Any:
    if path.is_dir():
        return load_tree(path)
    if path.suffix != ".safetensors":
        return read_pickled(path)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: cannot be read as safetensors: {error}") from error


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Return every leaf under its dotted key; an empty container is one."""
    if isinstance(value, Record):
        value = {"class": f"{type(value).__module__}.{type(value).__name__}", **vars(value)}
    if isinstance(value, Mapping) and value:
        pairs = [(str(key), below) for key, below in value.items()]
    elif isinstance(value, list | tuple) and value:
        pairs = [(str(number), below) for number, below in enumerate(value)]
    else:
        return {prefix: _plain(value)}
    found: dict[str, Any] = {}
    for key, below in pairs:
        found |= _flat(below, f"{prefix}.{key}" if prefix else key)
    return found


def _plain(value: Any) -> Any:
    """Return an array as a tensor: whether one or the other was saved is no difference of content."""
    if type(value).__module__ == "numpy" and getattr(value, "dtype", None) is not None and value.dtype.kind in "biufc":
        return torch.as_tensor(value)
    return value


def _renamed(leaves: dict[str, Any], names: Mapping[str, str], path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in leaves.items():
        new = renamed(key, names)
        if new in found:
            raise CheckpointError(f"{path}: two keys are renamed to {new!r}, one of them {key!r}")
        found[new] = value
    return found


def _chosen(leaves: dict[str, Any], only: str) -> dict[str, Any]:
    return {key: value for key, value in leaves.items() if re.fullmatch(only, key)}


def _opaque(leaves: Mapping[str, Any]) -> dict[str, Any]:
    return {key: Opaque(describe(one)) if isinstance(one, Tensor) else one for key, one in leaves.items()}
