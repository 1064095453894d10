"""Norm budgets for sums of weight deltas."""

import logging
from dataclasses import dataclass
from typing import Dict, List, NamedTuple, Tuple

import torch

logger = logging.getLogger(__name__)


@dataclass
class TrustRegionBudget:
    spectral_budget: float
    frobenius_budget: float
    layer_name: str


class BudgetViolation(NamedTuple):
    layer_name: str
    violation_type: str
    actual_value: float
    budget_value: float
    violation_ratio: float


class TrustRegionProjectionResult(NamedTuple):
    projected_deltas: Dict[str, torch.Tensor]
    violations: List[BudgetViolation]
    scaling_factors: Dict[str, float]
    pre_projection_norms: Dict[str, Dict[str, float]]
    post_projection_norms: Dict[str, Dict[str, float]]


class NormCalculator:
    @staticmethod
    def frobenius_norm(delta_w: torch.Tensor, use_fp32: bool = True) -> torch.Tensor:
        return (delta_w.float() if use_fp32 else delta_w).norm()

    @staticmethod
    def spectral_norm(delta_w: torch.Tensor, use_fp32: bool = True) -> torch.Tensor:
        return torch.linalg.matrix_norm(delta_w.float() if use_fp32 else delta_w, ord=2)

    @staticmethod
    def compute_all_norms(delta_w: torch.Tensor, use_fp32: bool = True) -> Dict[str, float]:
        return {
            "spectral": float(NormCalculator.spectral_norm(delta_w, use_fp32)),
            "frobenius": float(NormCalculator.frobenius_norm(delta_w, use_fp32)),
        }


class SpectralClamp:
    def __init__(self, max_spectral_norm: float, use_fp32: bool = True):
        self.max_spectral_norm, self.use_fp32 = max_spectral_norm, use_fp32

    def apply(self, delta_w: torch.Tensor) -> Tuple[torch.Tensor, float]:
        sigma = float(NormCalculator.spectral_norm(delta_w, self.use_fp32))
        factor = min(1.0, self.max_spectral_norm / sigma) if sigma else 1.0
        return delta_w * factor, factor


class TrustRegionProjector:
    def __init__(self, budgets: Dict[str, TrustRegionBudget], use_fp32: bool = True):
        self.budgets, self.use_fp32 = budgets, use_fp32

    def project_multi_bem_deltas(
        self, bem_deltas: Dict[str, Dict[str, torch.Tensor]]
    ) -> TrustRegionProjectionResult:
        sums: Dict[str, torch.Tensor] = {}
        for deltas in bem_deltas.values():
            for layer, delta in deltas.items():
                sums[layer] = sums[layer] + delta if layer in sums else delta
        result = TrustRegionProjectionResult({}, [], {}, {}, {})
        for layer, delta in sums.items():
            self._project_layer(layer, delta, result)
        return result

    def _project_layer(self, layer: str, delta: torch.Tensor, result: TrustRegionProjectionResult) -> None:
        before = NormCalculator.compute_all_norms(delta, self.use_fp32)
        budget = self.budgets[layer]
        for kind, limit in (("spectral", budget.spectral_budget), ("frobenius", budget.frobenius_budget)):
            if before[kind] > limit:
                result.violations.append(BudgetViolation(layer, kind, before[kind], limit, before[kind] / limit))
        clamped, factor = SpectralClamp(budget.spectral_budget, self.use_fp32).apply(delta)
        frobenius = float(NormCalculator.frobenius_norm(clamped, self.use_fp32))
        scale = min(1.0, budget.frobenius_budget / frobenius) if frobenius else 1.0
        result.projected_deltas[layer] = clamped * scale
        result.scaling_factors[layer] = factor * scale
        result.pre_projection_norms[layer] = before
        result.post_projection_norms[layer] = NormCalculator.compute_all_norms(clamped * scale, self.use_fp32)

    def update_budget(self, layer_name: str, budget: TrustRegionBudget) -> None:
        self.budgets[layer_name] = budget

    def get_budget_info(self) -> Dict[str, Dict[str, float]]:
        return {
            name: {"spectral": budget.spectral_budget, "frobenius": budget.frobenius_budget}
            for name, budget in self.budgets.items()
        }


def create_trust_region_projector(
    layer_names: List[str],
    spectral_budget: float = 1.0,
    frobenius_budget: float = 5.0,
    use_fp32: bool = True,
) -> TrustRegionProjector:
    budgets = {name: TrustRegionBudget(spectral_budget, frobenius_budget, name) for name in layer_names}
    return TrustRegionProjector(budgets, use_fp32)
