"""Nested values of a checkpoint, split into JSON and named tensors, and put together again."""

from __future__ import annotations

import math
import re
import struct
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from bem_core.errors import CheckpointError

# A level takes up to three in JSON, and Python reads fewer than a thousand of these.
MAX_DEPTH = 100
_SHOWN = 10
# Parts are files.
_PART_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")

# What every version of the safetensors format has; tensors of other types are stored as their bytes.
NATIVE: dict[torch.dtype, str] = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
}


@dataclass(slots=True)
class Part:
    """One named part of a checkpoint, ready to be written.

    Attributes:
        name: Such as ``model`` or ``optimizer``.
        skeleton: The part as JSON, with ``{"$tensor": name}`` in the place of each tensor.
        tensors: The tensors themselves, not copies, by name: the keys that lead to them, joined with dots.
        aliases: For each tensor that is another one under a second name: its name and that of the one that is stored.
        dtypes: Types of the tensors that are stored as bytes, such as ``complex64``.
    """

    name: str
    skeleton: Any = None
    tensors: dict[str, Tensor] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    dtypes: dict[str, str] = field(default_factory=dict)


def encode(tree: Mapping[str, Any]) -> list[Part]:
    """Split each part of a checkpoint.

    Values may be None, bool, int, float, str, tensors, and dicts (keys str or int), lists and tuples of these; an
    ``OrderedDict`` becomes a dict, a parameter a tensor.

    Raises:
        CheckpointError: Some values are nothing of that; names the keys and types of all of them.
    """
    encoders = [_Encoder(Part(_checked_name(name))) for name in tree]
    for encoder, value in zip(encoders, tree.values(), strict=True):
        encoder.part.skeleton = encoder.encode(value, (encoder.part.name,))
    problems = [problem for encoder in encoders for problem in encoder.problems]
    if problems:
        more = f" and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise CheckpointError("cannot be stored in a checkpoint: " + "; ".join(problems[:_SHOWN]) + more)
    return [encoder.part for encoder in encoders]


def _checked_name(name: str) -> str:
    if not _PART_NAME.fullmatch(name):
        raise CheckpointError(f"{name!r} is no name for a part of a checkpoint: letters, digits, '_', '.', '-' only")
    return name


@dataclass(slots=True)
class _Encoder:
    part: Part
    problems: list[str] = field(default_factory=list)
    stored: dict[tuple[Any, ...], str] = field(default_factory=dict)

    def encode(self, value: Any, keys: tuple[str, ...]) -> Any:
        kind = type(value)
        if value is None or kind is bool or kind is str:
            return value
        if kind is int:
            # Python reads at most 4300 decimal digits, other readers of JSON keep 64 bits.
            return value if -(2**63) <= value < 2**63 else {"$int": hex(value)}
        if kind is float:
            return value if math.isfinite(value) else {"$float": struct.pack(">d", value).hex()}
        if isinstance(value, Tensor):
            return self._encode_tensor(value, keys)
        if kind not in (dict, OrderedDict, list, tuple):
            return self._refuse(keys, _type_name(value))
        if len(keys) > MAX_DEPTH:
            return self._refuse(keys[:3], f"nested deeper than {MAX_DEPTH}, or contains itself")
        if isinstance(value, dict):
            return self._encode_dict(value, keys)
        items = [self.encode(item, (*keys, str(index))) for index, item in enumerate(value)]
        return items if kind is list else {"$tuple": items}

    def _encode_dict(self, value: Mapping[Any, Any], keys: tuple[str, ...]) -> dict[str, Any]:
        items: list[tuple[Any, Any]] = []
        for key, child in value.items():
            if type(key) is not str and type(key) is not int:
                self._refuse((*keys, str(key)), f"a key of type {_type_name(key)}")
            items.append((key, self.encode(child, (*keys, str(key)))))
        if all(type(key) is str and not key.startswith("$") for key, _ in items):
            return dict(items)
        return {"$dict": [[self.encode(key, keys), child] for key, child in items]}

    def _encode_tensor(self, tensor: Tensor, keys: tuple[str, ...]) -> Any:
        if reason := _why_not(tensor):
            return self._refuse(keys, reason)
        name = self._free_name(".".join(keys[1:]) or keys[0])
        place = _place(tensor)
        if tensor.numel() and place in self.stored:
            self.part.aliases[name] = self.stored[place]
            return {"$tensor": self.stored[place]}
        self.stored[place] = name
        self.part.tensors[name] = tensor
        if tensor.dtype not in NATIVE:
            self.part.dtypes[name] = str(tensor.dtype).removeprefix("torch.")
        return {"$tensor": name}

    def _free_name(self, name: str) -> str:
        free, count = name, 1
        while free in self.part.tensors or free in self.part.aliases or free == "__metadata__":
            count += 1
            free = f"{name}#{count}"
        return free

    def _refuse(self, keys: Iterable[str], what: str) -> None:
        self.problems.append(f"{'.'.join(keys)}: {what}")


def _type_name(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _why_not(tensor: Tensor) -> str:
    if type(tensor) not in (Tensor, nn.Parameter):
        return _type_name(tensor)
    if tensor.layout is not torch.strided:
        return f"a tensor of layout {tensor.layout}"
    if tensor.is_quantized:
        return "a quantized tensor"
    return "a tensor on the meta device, which has no data" if tensor.is_meta else ""


def _place(tensor: Tensor) -> tuple[Any, ...]:
    """Return what two tensors have in common when they are one tensor under two names."""
    memory = (tensor.device, tensor.untyped_storage().data_ptr(), tensor.storage_offset())
    return (*memory, tensor.dtype, tensor.shape, tensor.stride(), tensor.is_conj(), tensor.is_neg())


def decode(skeleton: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Put one part together again; what was one tensor under two names is so again.

    Raises:
        KeyError: A tensor is missing.
    """
    if isinstance(skeleton, list):
        return [decode(item, tensors) for item in skeleton]
    if not isinstance(skeleton, dict):
        return skeleton
    tag = next(iter(skeleton), "")
    if not tag.startswith("$"):
        return {key: decode(value, tensors) for key, value in skeleton.items()}
    value = skeleton[tag]
    match tag:
        case "$tensor":
            return tensors[value]
        case "$tuple":
            return tuple(decode(item, tensors) for item in value)
        case "$dict":
            return {decode(key, tensors): decode(child, tensors) for key, child in value}
        case "$int":
            return int(value, 16)
        case "$float":
            return struct.unpack(">d", bytes.fromhex(value))[0]
        case _:
            raise KeyError(tag)
