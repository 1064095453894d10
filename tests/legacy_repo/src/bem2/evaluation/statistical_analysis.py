"""Paired bootstrap."""

import random
from typing import Dict, List


class StatisticalAnalyzer:
    def __init__(self, num_resamples: int = 1000, seed: int = 0):
        self.num_resamples, self.random = num_resamples, random.Random(seed)

    def paired_interval(self, baseline: List[float], variant: List[float], confidence: float = 0.95) -> Dict:
        differences = [v - b for b, v in zip(baseline, variant)]
        means = sorted(
            sum(self.random.choices(differences, k=len(differences))) / len(differences)
            for _ in range(self.num_resamples)
        )
        tail = int((1 - confidence) / 2 * self.num_resamples)
        return {"low": means[tail], "high": means[-tail - 1]}
