"""Trust region for sums of weight deltas: a spectral and a Frobenius budget for each layer."""

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

    def __post_init__(self):
        if self.spectral_budget <= 0 or self.frobenius_budget <= 0:
            raise ValueError(f"budgets of {self.layer_name} must be positive")


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
        if use_fp32:
            delta_w = delta_w.float()
        return torch.norm(delta_w, p="fro")

    @staticmethod
    def spectral_norm(delta_w: torch.Tensor, use_fp32: bool = True) -> torch.Tensor:
        if use_fp32:
            delta_w = delta_w.float()
        return torch.linalg.svdvals(delta_w)[0]

    @staticmethod
    def combined_frobenius_norm(delta_ws: List[torch.Tensor], use_fp32: bool = True) -> torch.Tensor:
        total = torch.tensor(0.0)
        for delta_w in delta_ws:
            total = total + NormCalculator.frobenius_norm(delta_w, use_fp32) ** 2
        return torch.sqrt(total)

    @staticmethod
    def compute_all_norms(delta_w: torch.Tensor, use_fp32: bool = True) -> Dict[str, float]:
        return {
            "spectral": NormCalculator.spectral_norm(delta_w, use_fp32).item(),
            "frobenius": NormCalculator.frobenius_norm(delta_w, use_fp32).item(),
        }


class SpectralClamp:
    """Scales the whole matrix so that its largest singular value is at most the budget."""

    def __init__(self, max_spectral_norm: float, use_fp32: bool = True):
        self.max_spectral_norm = max_spectral_norm
        self.use_fp32 = use_fp32

    def apply(self, delta_w: torch.Tensor) -> Tuple[torch.Tensor, float]:
        sigma = NormCalculator.spectral_norm(delta_w, self.use_fp32).item()
        if sigma <= self.max_spectral_norm:
            return delta_w, 1.0
        factor = self.max_spectral_norm / sigma
        return delta_w * factor, factor


class TrustRegionProjector:
    def __init__(self, budgets: Dict[str, TrustRegionBudget], use_fp32: bool = True):
        self.budgets = budgets
        self.use_fp32 = use_fp32
        self.norm_calculator = NormCalculator()
        self.spectral_clamps = {}
        for name, budget in budgets.items():
            self.spectral_clamps[name] = SpectralClamp(budget.spectral_budget, use_fp32)

    def project_multi_bem_deltas(
        self, bem_deltas: Dict[str, Dict[str, torch.Tensor]]
    ) -> TrustRegionProjectionResult:
        combined = self._compute_combined_deltas(bem_deltas)
        projected_deltas, violations, scaling_factors = {}, [], {}
        pre_norms, post_norms = {}, {}
        for layer_name, delta in combined.items():
            pre_norms[layer_name] = self.norm_calculator.compute_all_norms(delta, self.use_fp32)
            if layer_name not in self.budgets:
                logger.warning("no budget for %s", layer_name)
                projected_deltas[layer_name] = delta
                scaling_factors[layer_name] = 1.0
                post_norms[layer_name] = pre_norms[layer_name]
                continue
            budget = self.budgets[layer_name]
            limits = [("spectral", budget.spectral_budget), ("frobenius", budget.frobenius_budget)]
            for kind, limit in limits:
                actual = pre_norms[layer_name][kind]
                if actual > limit:
                    violations.append(BudgetViolation(layer_name, kind, actual, limit, actual / limit))
            delta, factor = self.spectral_clamps[layer_name].apply(delta)
            frobenius = self.norm_calculator.frobenius_norm(delta, self.use_fp32).item()
            if frobenius > budget.frobenius_budget:
                delta = delta * (budget.frobenius_budget / frobenius)
                factor = factor * (budget.frobenius_budget / frobenius)
            projected_deltas[layer_name] = delta
            scaling_factors[layer_name] = factor
            post_norms[layer_name] = self.norm_calculator.compute_all_norms(delta, self.use_fp32)
        return TrustRegionProjectionResult(projected_deltas, violations, scaling_factors, pre_norms, post_norms)

    def _compute_combined_deltas(self, bem_deltas: Dict[str, Dict[str, torch.Tensor]]) -> Dict[str, torch.Tensor]:
        combined = {}
        for deltas in bem_deltas.values():
            for layer_name, delta in deltas.items():
                if layer_name in combined:
                    combined[layer_name] = combined[layer_name] + delta
                else:
                    combined[layer_name] = delta
        return combined

    def update_budget(self, layer_name: str, budget: TrustRegionBudget):
        self.budgets[layer_name] = budget
        self.spectral_clamps[layer_name] = SpectralClamp(budget.spectral_budget, self.use_fp32)

    def get_budget_info(self) -> Dict[str, Dict[str, float]]:
        info = {}
        for name, budget in self.budgets.items():
            info[name] = {"spectral": budget.spectral_budget, "frobenius": budget.frobenius_budget}
        return info


class AdaptiveTrustRegion:
    """Widens the budgets of layers that are violated too often."""

    def __init__(
        self,
        initial_projector: TrustRegionProjector,
        adaptation_rate: float = 0.1,
        violation_threshold: float = 0.1,
    ):
        self.projector = initial_projector
        self.adaptation_rate = adaptation_rate
        self.violation_threshold = violation_threshold
        self._counts = {}
        self._num_projections = 0

    def project_and_adapt(self, bem_deltas: Dict[str, Dict[str, torch.Tensor]]) -> TrustRegionProjectionResult:
        result = self.projector.project_multi_bem_deltas(bem_deltas)
        self._num_projections += 1
        for layer_name in {violation.layer_name for violation in result.violations}:
            self._counts[layer_name] = self._counts.get(layer_name, 0) + 1
        if self._num_projections % 10 == 0:
            self._adapt_budgets()
        return result

    def _adapt_budgets(self):
        for layer_name, count in self._counts.items():
            if count / self._num_projections > self.violation_threshold:
                old = self.projector.budgets[layer_name]
                grow = 1.0 + self.adaptation_rate
                self.projector.update_budget(
                    layer_name,
                    TrustRegionBudget(old.spectral_budget * grow, old.frobenius_budget * grow, layer_name),
                )
        self._counts = {}
        self._num_projections = 0


def create_trust_region_projector(
    layer_names: List[str],
    spectral_budget: float = 1.0,
    frobenius_budget: float = 5.0,
    use_fp32: bool = True,
) -> TrustRegionProjector:
    budgets = {}
    for name in layer_names:
        budgets[name] = TrustRegionBudget(spectral_budget, frobenius_budget, name)
    return TrustRegionProjector(budgets, use_fp32)


def create_adaptive_trust_region(
    projector: TrustRegionProjector, adaptation_rate: float = 0.1, violation_threshold: float = 0.1
) -> AdaptiveTrustRegion:
    return AdaptiveTrustRegion(projector, adaptation_rate, violation_threshold)
