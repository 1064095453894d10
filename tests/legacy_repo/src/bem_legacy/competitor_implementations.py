"""Other adapters, for comparison."""

from dataclasses import dataclass
from typing import Dict, List


@dataclass
class CompetitorConfig:
    method: str = "lora"
    rank: int = 8


def create_competitor_method(config: CompetitorConfig):
    sizes = {"lora": 2, "dora": 2, "ia3": 1}
    return lambda hidden: sizes[config.method] * hidden * (config.rank if config.method != "ia3" else 1)


def benchmark_all_competitors(hidden_sizes: List[int]) -> Dict[str, List[int]]:
    methods = ("lora", "dora", "ia3")
    return {name: [create_competitor_method(CompetitorConfig(name))(h) for h in hidden_sizes] for name in methods}
