"""What happened in a stretch of a run, until it is written as part of a record."""

from __future__ import annotations

from typing import Any


class Events(dict[str, list[Any]]):
    """Lists of events, one for each field of a record (docs/trace_format.md) that something happened for."""

    __slots__ = ()

    def __missing__(self, field: str) -> list[Any]:
        """Begin a list."""
        found = self[field] = []
        return found
