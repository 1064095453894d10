"""Budgets and trade-offs."""

import logging
import time
from dataclasses import dataclass
from typing import Dict, List, Tuple

import torch
import torch.nn as nn

logger = logging.getLogger(__name__)


@dataclass
class BudgetConstraints:
    baseline_params: int = 124964096
    baseline_flops: int = 1000000
    baseline_memory_mb: float = 512.0
    tolerance: float = 0.05

    @property
    def param_bounds(self) -> Tuple[int, int]:
        slack = int(self.baseline_params * self.tolerance)
        return self.baseline_params - slack, self.baseline_params + slack


@dataclass
class PerformanceMetrics:
    exact_match: float = 0.0
    f1_score: float = 0.0
    parameters: int = 0
    flops: int = 0
    memory_mb: float = 0.0
    inference_latency_ms: float = 0.0


class BudgetValidator:
    def __init__(self, constraints: BudgetConstraints):
        self.constraints = constraints

    def validate_parameters(self, param_count: int) -> Dict[str, object]:
        low, high = self.constraints.param_bounds
        return {"within_budget": low <= param_count <= high, "low": low, "high": high}


class ParetoAnalyzer:
    def __init__(self):
        self.results: List[Tuple[str, PerformanceMetrics]] = []

    def add_result(self, variant_name: str, metrics: PerformanceMetrics) -> None:
        self.results.append((variant_name, metrics))

    def compute_pareto_frontier(self, x_metric: str = "parameters", y_metric: str = "f1_score"):
        def dominated(name, metrics):
            return any(
                getattr(other, x_metric) <= getattr(metrics, x_metric)
                and getattr(other, y_metric) > getattr(metrics, y_metric)
                for rival, other in self.results
                if rival != name
            )

        return [(name, metrics) for name, metrics in self.results if not dominated(name, metrics)]


class PerformanceProfiler:
    def __init__(self, device: str = "cuda"):
        self.device = device

    def profile_inference_latency(self, model: nn.Module, input_data: torch.Tensor, num_runs: int = 100) -> float:
        started = time.perf_counter()
        with torch.no_grad():
            for _ in range(num_runs):
                model(input_data)
        return 1000 * (time.perf_counter() - started) / num_runs


class ComprehensiveEvaluator:
    def __init__(self, budget_constraints: BudgetConstraints):
        self.validator, self.pareto = BudgetValidator(budget_constraints), ParetoAnalyzer()

    def evaluate_variant(self, variant_name: str, model: nn.Module, scores: Dict[str, float]) -> Dict[str, object]:
        count = sum(p.numel() for p in model.parameters())
        self.pareto.add_result(variant_name, PerformanceMetrics(parameters=count, **scores))
        return self.validator.validate_parameters(count)
