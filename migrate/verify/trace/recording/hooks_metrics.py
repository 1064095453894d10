"""Recording what named functions of the program return as metrics."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from .recorder import Recorder


def returning(recorder: Recorder, name: str, original: Any) -> Any:
    """Return a function that records what another returns, under its own name where it is a single number."""

    def function(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        recorder.guarded(_metrics, recorder, name, result)
        return result

    return function


def _metrics(recorder: Recorder, name: str, result: Any) -> None:
    for key, value in _flat(result, ""):
        recorder.metric(key or name, value)


def _flat(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        value = dict(zip(value._fields, value, strict=True))
    if isinstance(value, Mapping):
        for name, below in value.items():
            yield from _flat(below, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple):
        for at, below in enumerate(value):
            yield from _flat(below, f"{key}.{at}" if key else str(at))
    elif value is not None:
        yield key, value
