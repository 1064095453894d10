"""Wall time of a call."""

import time
from typing import Callable, Dict


class LatencyProfiler:
    def __init__(self, num_warmup: int = 2, num_runs: int = 10):
        self.num_warmup, self.num_runs = num_warmup, num_runs

    def profile(self, call: Callable[[], object]) -> Dict[str, float]:
        for _ in range(self.num_warmup):
            call()
        times = []
        for _ in range(self.num_runs):
            started = time.perf_counter()
            call()
            times.append(1000 * (time.perf_counter() - started))
        times.sort()
        return {"p50_ms": times[len(times) // 2], "p95_ms": times[int(0.95 * (len(times) - 1))]}
