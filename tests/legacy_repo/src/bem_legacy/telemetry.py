"""Counters of a run."""

from collections import defaultdict
from enum import Enum


class TrustStatus(Enum):
    TRUSTED = "trusted"
    WATCH = "watch"
    BLOCKED = "blocked"


class TelemetryCollector:
    def __init__(self):
        self.values = defaultdict(list)

    def record(self, name: str, value: float) -> None:
        self.values[name].append(value)

    def summary(self) -> dict:
        return {name: sum(values) / len(values) for name, values in self.values.items()}
