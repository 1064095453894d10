"""What happened in a stretch of a run, until it is written as part of a record, and which hook is at work."""

from __future__ import annotations

from typing import Any


class Events(dict[str, list[Any]]):
    """Lists of events, one for each field of a record (docs/trace_format.md) that something happened for."""

    __slots__ = ()

    def __missing__(self, field: str) -> list[Any]:
        """Begin a list."""
        found = self[field] = []
        return found


class Within:
    """Marks that a hook is at work; without a generator, because it is entered for each call of a module."""

    __slots__ = ("hook", "inside")

    def __init__(self, inside: set[str], hook: str) -> None:
        self.inside = inside
        self.hook = hook

    def __enter__(self) -> None:
        """Mark it."""
        self.inside.add(self.hook)

    def __exit__(self, *_: object) -> None:
        """Take the mark away."""
        self.inside.discard(self.hook)
