"""
Composition engine: macro actions to weight deltas inside a trust region.

Deltas of the chosen expert are cut to the rank budget, scaled by the bias scale, damped for local scope, and projected
so that spectral and Frobenius norm stay inside their budgets.
"""

import logging
from dataclasses import dataclass
from typing import Dict, List, NamedTuple, Optional

import torch
import torch.nn as nn

from .macro_policy import MacroAction

try:
    from bem_legacy.trust_region import TrustRegionBudget, TrustRegionProjector
except ImportError:
    from src.bem_legacy.trust_region import TrustRegionBudget, TrustRegionProjector

logger = logging.getLogger(__name__)


@dataclass
class BEMCompositionConfig:
    attachment_points: List[str] = None
    trust_region_tau: float = 1.0
    spectral_budget: float = 2.0
    frobenius_budget: float = 5.0
    cache_safe_only: bool = True

    def __post_init__(self):
        if self.attachment_points is None:
            self.attachment_points = ["attention.w_o", "mlp.w_down"]


class CompositionResult(NamedTuple):
    composed_deltas: Dict[str, torch.Tensor]
    scaling_factors: Dict[str, float]
    trust_region_violations: List
    cache_safety_report: Dict
    composition_stats: Dict


class ExpertBank:
    """Deltas of each expert by attachment point."""

    def __init__(self, config: BEMCompositionConfig):
        self.config = config
        self.experts: Dict[int, Dict[str, torch.Tensor]] = {}
        self.expert_metadata: Dict[int, Dict] = {}

    def register_expert(
        self, expert_id: int, expert_name: str, deltas: Dict[str, torch.Tensor], metadata: Optional[Dict] = None
    ):
        for layer_name in deltas:
            if self.config.cache_safe_only and layer_name not in self.config.attachment_points:
                raise ValueError(f"{layer_name} is no cache-safe attachment point")
        self.experts[expert_id] = deltas
        self.expert_metadata[expert_id] = {"name": expert_name, **(metadata or {})}
        logger.info("registered expert %s (%s)", expert_id, expert_name)

    def get_expert_deltas(self, expert_id: int, rank_budget: Optional[int] = None) -> Dict[str, torch.Tensor]:
        if expert_id not in self.experts:
            raise KeyError(f"no expert {expert_id}")
        deltas = self.experts[expert_id]
        if rank_budget is not None:
            deltas = self._apply_rank_budget(deltas, rank_budget)
        return deltas

    def _apply_rank_budget(self, deltas: Dict[str, torch.Tensor], rank_budget: int) -> Dict[str, torch.Tensor]:
        truncated = {}
        for layer_name, delta in deltas.items():
            U, S, Vh = torch.linalg.svd(delta, full_matrices=False)
            r = min(rank_budget, S.shape[0])
            truncated[layer_name] = U[:, :r] @ torch.diag(S[:r]) @ Vh[:r, :]
        return truncated

    def list_experts(self) -> Dict[int, Dict]:
        return dict(self.expert_metadata)


class CompositionEngine:
    """Expert deltas -> rank budget -> bias scale -> scope -> trust region."""

    def __init__(self, config: BEMCompositionConfig, expert_bank: Optional[ExpertBank] = None):
        self.config = config
        self.expert_bank = expert_bank if expert_bank is not None else ExpertBank(config)
        budgets = {}
        for name in config.attachment_points:
            budgets[name] = TrustRegionBudget(
                spectral_budget=config.spectral_budget, frobenius_budget=config.frobenius_budget, layer_name=name
            )
        self.trust_region_projector = TrustRegionProjector(budgets)
        self.cache_violations = 0
        self._num_compositions = 0
        self._num_violations = 0

    def compose_action(self, action: MacroAction, chunk_index: int = 0, sequence_length: int = 1) -> CompositionResult:
        deltas = self.expert_bank.get_expert_deltas(action.expert_id, action.rank_budget)
        deltas = self._apply_bias_scaling(deltas, action.bias_scale)
        deltas = self._apply_scope_constraints(deltas, action.scope, chunk_index, sequence_length)
        projection = self.trust_region_projector.project_multi_bem_deltas({"expert": deltas})
        report = self._generate_cache_safety_report(action, chunk_index, sequence_length)
        self._num_compositions += 1
        self._num_violations += len(projection.violations)
        if not report["cache_safe"]:
            self.cache_violations += 1
        return CompositionResult(
            composed_deltas=projection.projected_deltas,
            scaling_factors=projection.scaling_factors,
            trust_region_violations=projection.violations,
            cache_safety_report=report,
            composition_stats={
                "expert_id": action.expert_id,
                "rank_budget": action.rank_budget,
                "pre_norms": projection.pre_projection_norms,
                "post_norms": projection.post_projection_norms,
            },
        )

    def compose_sequence(self, actions: List[MacroAction], chunk_boundaries: List[int]) -> Dict[int, CompositionResult]:
        results = {}
        for i, (action, start) in enumerate(zip(actions, chunk_boundaries)):
            results[start] = self.compose_action(action, chunk_index=i, sequence_length=len(actions))
        return results

    def _apply_bias_scaling(self, deltas: Dict[str, torch.Tensor], bias_scale: float) -> Dict[str, torch.Tensor]:
        return {name: delta * bias_scale for name, delta in deltas.items()}

    def _apply_scope_constraints(
        self, deltas: Dict[str, torch.Tensor], scope: str, chunk_index: int, sequence_length: int
    ) -> Dict[str, torch.Tensor]:
        if scope == "local":
            return {name: delta * 0.8 for name, delta in deltas.items()}
        return deltas

    def _generate_cache_safety_report(self, action: MacroAction, chunk_index: int, sequence_length: int) -> Dict:
        issues = []
        if action.span > 4:
            issues.append("span > 4")
        if action.bias_scale > 2.0:
            issues.append("bias_scale > 2")
        return {"cache_safe": not issues, "issues": issues, "chunk_index": chunk_index}

    def apply_deltas_to_model(
        self,
        model: nn.Module,
        composed_deltas: Dict[str, torch.Tensor],
        attachment_points: Optional[Dict[str, str]] = None,
    ) -> Dict[str, torch.Tensor]:
        """attachment_points: layer name -> path of the parameter, parts separated by "/"."""
        original_weights = {}
        for name, delta in composed_deltas.items():
            path = (attachment_points or {}).get(name, name.replace(".", "/") + "/weight")
            target = model
            found = True
            for part in path.split("/"):
                if not hasattr(target, part):
                    logger.warning("no %s in the model, %s is not applied", path, name)
                    found = False
                    break
                target = getattr(target, part)
            if not found:
                continue
            original_weights[path] = target.data.clone()
            target.data += delta.to(target.dtype)
        return original_weights

    def rollback_deltas(self, model: nn.Module, original_weights: Dict[str, torch.Tensor]):
        for path, weight in original_weights.items():
            target = model
            for part in path.split("/"):
                target = getattr(target, part)
            target.data.copy_(weight)

    def get_composition_stats(self) -> Dict:
        return {
            "num_experts": len(self.expert_bank.experts),
            "num_compositions": self._num_compositions,
            "trust_region_violations": self._num_violations,
            "cache_violations": self.cache_violations,
            "budgets": self.trust_region_projector.get_budget_info(),
        }


def create_composition_engine(
    config: Dict, expert_deltas: Optional[Dict[int, Dict[str, torch.Tensor]]] = None
) -> CompositionEngine:
    composition_config = BEMCompositionConfig(
        attachment_points=config.get("attachment_points"),
        trust_region_tau=float(config.get("trust_region_tau", 1.0)),
        spectral_budget=float(config.get("spectral_budget", 2.0)),
        frobenius_budget=float(config.get("frobenius_budget", 5.0)),
        cache_safe_only=bool(config.get("cache_safe_only", True)),
    )
    engine = CompositionEngine(composition_config)
    for expert_id, deltas in (expert_deltas or {}).items():
        engine.expert_bank.register_expert(expert_id, ["Code", "Formal", "Safety"][expert_id % 3], deltas)
    return engine


def create_default_experts() -> Dict[int, Dict[str, torch.Tensor]]:
    experts = {}
    for expert_id, scale in enumerate([0.8, 1.2, 0.6]):
        experts[expert_id] = {
            "attention.w_o": torch.randn(512, 512) * 0.1 * scale,
            "mlp.w_down": torch.randn(2048, 512) * 0.1 * scale,
        }
    return experts
