"""Compare measurements against limits."""

from typing import Dict

from .latency_profiler import LatencyProfiler


class AcceptanceValidator:
    def __init__(self, limits: Dict[str, float]):
        self.limits = limits
        self.profiler = LatencyProfiler()

    def validate(self, values: Dict[str, float]) -> Dict[str, bool]:
        return {name: values[name] <= limit for name, limit in self.limits.items() if name in values}
