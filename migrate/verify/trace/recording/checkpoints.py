"""What was saved, entry by entry."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from .digests import digest, leaf_digest, plain, root, tensor_digest
from .stream import Record


@dataclass(frozen=True, slots=True)
class Saved:
    """What a function was asked to save.

    Attributes:
        function: Its name.
        entries: Type and digest or value, by dotted key.
    """

    function: str
    entries: dict[str, str]


def saved(function: str, value: Any) -> Saved:
    """Return what a value is made of; it depends on what is saved and not on how it is stored."""
    return Saved(function, dict(_entries(value, "")))


def checkpoint_record(number: int, after_step: int, one: Saved, file: str | None, best: bool) -> Record:
    """Return the record of a checkpoint."""
    text = root(f"{key}={entry};".encode() for key, entry in one.entries.items())
    return {
        "kind": "checkpoint",
        "number": number,
        "after_step": after_step,
        "function": one.function,
        "file": file,
        "best": best,
        "digest": text.hex(),
        "entries": one.entries,
    }


def _entries(value: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, nn.Module):
        value = value.state_dict()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping) and value:
        for name, below in value.items():
            yield from _entries(below, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple) and value and not _is_numbers(value):
        for at, below in enumerate(value):
            yield from _entries(below, f"{key}.{at}" if key else str(at))
    else:
        yield key, _entry(value)


def _is_numbers(value: Any) -> bool:
    """Tell a list of numbers, such as the state of a generator, which is one entry, from a list of other things."""
    return all(type(one) in (int, float) for one in value)


def _entry(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"tensor:{tensor_digest(value).hex()}"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}:{digest(value)}"
    if isinstance(value, bool | int | float | str | type(None)):
        return f"{type(value).__name__}:{plain(value)}"
    return f"{type(value).__module__}.{type(value).__qualname__}:{leaf_digest(value).hex()}"
