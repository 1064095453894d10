"""
Evaluation of the performance track: budgets, Pareto fronts, statistics, profiles.
"""

import torch
import torch.nn as nn
from typing import Dict, List, Optional, Tuple, Union, Any
from dataclasses import dataclass, asdict
from pathlib import Path
import json
import logging
import math
import time

import numpy as np

logger = logging.getLogger(__name__)


@dataclass
class BudgetConstraints:
    """What a variant may cost, within a tolerance."""
    baseline_params: int = 124964096
    baseline_flops: int = 1000000
    baseline_memory_mb: float = 512.0
    tolerance: float = 0.05

    @property
    def param_bounds(self) -> Tuple[int, int]:
        return int(self.baseline_params * (1 - self.tolerance)), int(self.baseline_params * (1 + self.tolerance))

    @property
    def flop_bounds(self) -> Tuple[int, int]:
        return int(self.baseline_flops * (1 - self.tolerance)), int(self.baseline_flops * (1 + self.tolerance))

    @property
    def memory_bounds(self) -> Tuple[float, float]:
        return self.baseline_memory_mb * (1 - self.tolerance), self.baseline_memory_mb * (1 + self.tolerance)


@dataclass
class PerformanceMetrics:
    """Everything that is known of a variant."""
    exact_match: float = 0.0
    f1_score: float = 0.0
    bleu_score: float = 0.0
    rouge_score: float = 0.0
    chrf_score: float = 0.0
    parameters: int = 0
    flops: int = 0
    memory_mb: float = 0.0
    inference_latency_ms: float = 0.0
    throughput_samples_per_sec: float = 0.0
    training_loss: float = float('inf')
    validation_loss: float = float('inf')
    convergence_steps: int = -1
    variant_specific: Dict[str, float] = None

    def __post_init__(self):
        if self.variant_specific is None:
            self.variant_specific = {}

    def primary_metric(self) -> float:
        return self.f1_score

    def secondary_metrics(self) -> Dict[str, float]:
        return {
            'exact_match': self.exact_match,
            'bleu_score': self.bleu_score,
            'rouge_score': self.rouge_score,
            'chrf_score': self.chrf_score,
        }


class BudgetValidator:
    """Checks costs against the constraints."""

    def __init__(self, constraints: BudgetConstraints):
        self.constraints = constraints

    def _validate(self, name: str, value: float, bounds: Tuple[float, float], baseline: float) -> Dict[str, Any]:
        deviation = (value - baseline) / baseline
        within = bounds[0] <= value <= bounds[1]
        return {
            'within_budget': within,
            'value': value,
            'lower_bound': bounds[0],
            'upper_bound': bounds[1],
            'deviation_pct': 100.0 * deviation,
            'status': 'PASS' if within else 'FAIL',
            'message': f"{name}: {value} is {100.0 * deviation:+.2f}% of {baseline}",
        }

    def validate_parameters(self, param_count: int) -> Dict[str, Union[bool, float, str]]:
        return self._validate('parameters', param_count, self.constraints.param_bounds, self.constraints.baseline_params)

    def validate_flops(self, flop_count: int) -> Dict[str, Union[bool, float, str]]:
        return self._validate('flops', flop_count, self.constraints.flop_bounds, self.constraints.baseline_flops)

    def validate_memory(self, memory_mb: float) -> Dict[str, Union[bool, float, str]]:
        return self._validate('memory', memory_mb, self.constraints.memory_bounds, self.constraints.baseline_memory_mb)

    def validate_all(self, metrics: PerformanceMetrics) -> Dict[str, Dict]:
        return {
            'parameters': self.validate_parameters(metrics.parameters),
            'flops': self.validate_flops(metrics.flops),
            'memory': self.validate_memory(metrics.memory_mb),
        }

    def overall_budget_status(self, metrics: PerformanceMetrics) -> str:
        results = self.validate_all(metrics)
        return 'PASS' if all(r['within_budget'] for r in results.values()) else 'FAIL'


class ParetoAnalyzer:
    """Which variants no other one beats."""

    def __init__(self):
        self.results: List[Tuple[str, PerformanceMetrics]] = []

    def add_result(self, variant_name: str, metrics: PerformanceMetrics):
        self.results.append((variant_name, metrics))

    def compute_pareto_frontier(
        self, x_metric: str = 'parameters', y_metric: str = 'f1_score', maximize_y: bool = True
    ) -> List[Tuple[str, PerformanceMetrics]]:
        sign = 1.0 if maximize_y else -1.0
        frontier = []
        for name, metrics in self.results:
            x, y = getattr(metrics, x_metric), sign * getattr(metrics, y_metric)
            dominated = False
            for other_name, other in self.results:
                if other_name == name:
                    continue
                ox, oy = getattr(other, x_metric), sign * getattr(other, y_metric)
                if ox <= x and oy >= y and (ox < x or oy > y):
                    dominated = True
                    break
            if not dominated:
                frontier.append((name, metrics))
        return sorted(frontier, key=lambda item: getattr(item[1], x_metric))

    def pareto_dominance_analysis(self) -> Dict[str, Any]:
        pairs = {
            'params_vs_f1': ('parameters', 'f1_score', True),
            'flops_vs_f1': ('flops', 'f1_score', True),
            'latency_vs_f1': ('inference_latency_ms', 'f1_score', True),
            'params_vs_loss': ('parameters', 'validation_loss', False),
        }
        frontiers = {}
        for key, (x, y, maximize) in pairs.items():
            frontiers[key] = [name for name, _ in self.compute_pareto_frontier(x, y, maximize)]
        return {
            'frontiers': frontiers,
            'dominance_matrix': self._compute_dominance_matrix(),
            'num_variants': len(self.results),
        }

    def _compute_dominance_matrix(self) -> Dict[str, Dict[str, str]]:
        matrix: Dict[str, Dict[str, str]] = {}
        for name, metrics in self.results:
            matrix[name] = {}
            for other_name, other in self.results:
                if name == other_name:
                    matrix[name][other_name] = 'self'
                    continue
                better = metrics.f1_score >= other.f1_score and metrics.parameters <= other.parameters
                worse = metrics.f1_score <= other.f1_score and metrics.parameters >= other.parameters
                matrix[name][other_name] = (
                    'equal' if better and worse else 'dominates' if better else 'dominated' if worse else 'incomparable'
                )
        return matrix


class StatisticalValidator:
    """Is it better, or is it noise?"""

    @staticmethod
    def validate_improvement(
        baseline_scores: List[float], variant_scores: List[float], alpha: float = 0.05, test_type: str = 'ttest'
    ) -> Dict[str, Any]:
        baseline, variant = np.asarray(baseline_scores, float), np.asarray(variant_scores, float)
        difference = variant.mean() - baseline.mean()
        if test_type == 'bootstrap':
            generator = np.random.RandomState(0)
            draws = [
                generator.choice(variant, len(variant)).mean() - generator.choice(baseline, len(baseline)).mean()
                for _ in range(1000)
            ]
            p_value = 2 * min(np.mean(np.asarray(draws) <= 0), np.mean(np.asarray(draws) >= 0))
        else:
            spread = math.sqrt(variant.var(ddof=1) / len(variant) + baseline.var(ddof=1) / len(baseline) + 1e-12)
            # normal approximation, so that scipy is not needed
            p_value = math.erfc(abs(difference / spread) / math.sqrt(2))
        pooled = math.sqrt((variant.var(ddof=1) + baseline.var(ddof=1)) / 2 + 1e-12)
        return {
            'significant': bool(p_value < alpha and difference > 0),
            'p_value': float(min(p_value, 1.0)),
            'mean_difference': float(difference),
            'relative_improvement_pct': float(100.0 * difference / (abs(baseline.mean()) + 1e-12)),
            'effect_size': float(difference / pooled),
            'test_type': test_type,
        }

    @staticmethod
    def slice_b_analysis(
        baseline_results: Dict[str, List[float]],
        variant_results: Dict[str, List[float]],
        slices: List[str] = None
    ) -> Dict[str, Dict[str, Any]]:
        names = slices or sorted(set(baseline_results) & set(variant_results))
        return {
            name: StatisticalValidator.validate_improvement(baseline_results[name], variant_results[name])
            for name in names
        }


class PerformanceProfiler:
    """Latency and memory of a model."""

    def __init__(self, device: str = "cuda"):
        self.device = device if device != "cuda" or torch.cuda.is_available() else "cpu"

    def profile_inference_latency(
        self, model: nn.Module, input_data: torch.Tensor, num_runs: int = 100, warmup_runs: int = 10
    ) -> Dict[str, float]:
        model = model.to(self.device)
        input_data = input_data.to(self.device)
        model.eval()
        with torch.no_grad():
            for _ in range(warmup_runs):
                model(input_data)
            times = []
            for _ in range(num_runs):
                if self.device == "cuda":
                    torch.cuda.synchronize()
                start = time.perf_counter()
                model(input_data)
                if self.device == "cuda":
                    torch.cuda.synchronize()
                times.append(1000.0 * (time.perf_counter() - start))
        return {
            'mean_latency_ms': float(np.mean(times)),
            'std_latency_ms': float(np.std(times)),
            'p50_latency_ms': float(np.percentile(times, 50)),
            'p95_latency_ms': float(np.percentile(times, 95)),
            'throughput_samples_per_sec': 1000.0 * input_data.shape[0] / float(np.mean(times)),
        }

    def profile_memory_usage(self, model: nn.Module, input_data: torch.Tensor) -> Dict[str, float]:
        params_mb = sum(p.numel() * p.element_size() for p in model.parameters()) / (1024 * 1024)
        if self.device != "cuda":
            return {'parameters_mb': params_mb, 'peak_mb': params_mb}
        torch.cuda.reset_peak_memory_stats()
        with torch.no_grad():
            model(input_data.to(self.device))
        return {'parameters_mb': params_mb, 'peak_mb': torch.cuda.max_memory_allocated() / (1024 * 1024)}

    def comprehensive_profile(
        self, model: nn.Module, input_data: torch.Tensor, variant_name: str
    ) -> PerformanceMetrics:
        latency = self.profile_inference_latency(model, input_data, num_runs=10, warmup_runs=2)
        memory = self.profile_memory_usage(model, input_data)
        flops = 0
        if hasattr(model, 'get_flop_count'):
            flops = model.get_flop_count(input_data.shape[0], input_data.shape[1])['total']
        logger.info(f"{variant_name}: {latency['mean_latency_ms']:.2f} ms")
        return PerformanceMetrics(
            parameters=sum(p.numel() for p in model.parameters()),
            flops=flops,
            memory_mb=memory['peak_mb'],
            inference_latency_ms=latency['mean_latency_ms'],
            throughput_samples_per_sec=latency['throughput_samples_per_sec'],
        )


class ComprehensiveEvaluator:
    """All of it for several variants."""

    def __init__(self, budget_constraints: BudgetConstraints):
        self.budget_constraints = budget_constraints
        self.budget_validator = BudgetValidator(budget_constraints)
        self.pareto_analyzer = ParetoAnalyzer()
        self.profiler = PerformanceProfiler("cuda" if torch.cuda.is_available() else "cpu")
        self.results: Dict[str, Dict[str, Any]] = {}

    def evaluate_variant(
        self,
        variant_name: str,
        model: nn.Module,
        test_data: torch.Tensor,
        performance_scores: Dict[str, float] = None,
        baseline_scores: Dict[str, List[float]] = None
    ) -> Dict[str, Any]:
        metrics = self.profiler.comprehensive_profile(model, test_data, variant_name)
        for name, value in (performance_scores or {}).items():
            setattr(metrics, name, value)
        result = {
            'metrics': asdict(metrics),
            'budget': self.budget_validator.validate_all(metrics),
            'budget_status': self.budget_validator.overall_budget_status(metrics),
        }
        if baseline_scores:
            result['statistics'] = {
                name: StatisticalValidator.validate_improvement(scores, [getattr(metrics, name)] * len(scores))
                for name, scores in baseline_scores.items()
            }
        self.pareto_analyzer.add_result(variant_name, metrics)
        self.results[variant_name] = result
        return result

    def generate_final_report(self) -> Dict[str, Any]:
        return {
            'variants': self.results,
            'pareto': self.pareto_analyzer.pareto_dominance_analysis(),
            'passing': [name for name, r in self.results.items() if r['budget_status'] == 'PASS'],
        }

    def save_report(self, report_path: Path):
        with open(report_path, 'w') as f:
            json.dump(self.generate_final_report(), f, indent=2, default=str)

    def print_summary(self):
        for name, result in self.results.items():
            m = result['metrics']
            print(f"{name:<28} params {m['parameters']:>8}  latency {m['inference_latency_ms']:.2f} ms  "
                  f"budget {result['budget_status']}")
