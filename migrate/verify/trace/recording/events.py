"""What happened in a stretch of a run, until it is written as part of a record."""

from __future__ import annotations

from typing import Any

_KINDS = ("phases", "losses", "components", "batches", "forwards", "clips", "metrics", "scaler", "draws", "calls")


class Events:
    """Lists of events, one for each field of a record (docs/trace_format.md)."""

    __slots__ = _KINDS

    def __init__(self) -> None:
        self.phases: list[str] = []
        self.losses: list[str] = []
        self.components: list[list[str]] = []
        self.batches: list[dict[str, Any]] = []
        self.forwards: list[dict[str, Any]] = []
        self.clips: list[dict[str, Any]] = []
        self.metrics: list[list[str]] = []
        self.scaler: list[dict[str, Any]] = []
        self.draws: list[dict[str, Any]] = []
        self.calls: list[dict[str, Any]] = []

    def record(self) -> dict[str, Any]:
        """Return the lists that have something in them."""
        return {kind: found for kind in _KINDS if (found := getattr(self, kind))}

    def __bool__(self) -> bool:
        """Tell whether anything happened."""
        return any(getattr(self, kind) for kind in _KINDS)
