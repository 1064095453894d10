"""Turn macro actions into weight deltas inside a trust region (first version, kept for the ablation notebook)."""

import logging
from dataclasses import dataclass
from typing import Dict, List, NamedTuple, Optional

import torch
import torch.nn as nn

from .macro_policy import MacroAction
from ...bem.trust_region import TrustRegionProjector, TrustRegionBudget
from ...bem.modules.chunk_sticky_routing import ChunkStickyRouter

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
    def __init__(self, config: BEMCompositionConfig):
        self.config = config
        self.experts: Dict[int, Dict] = {}

    def register_expert(
        self, expert_id: int, expert_name: str, deltas: Dict[str, torch.Tensor], metadata: Optional[Dict] = None
    ):
        self.experts[expert_id] = {"name": expert_name, "deltas": deltas, "metadata": metadata or {}}

    def get_expert_deltas(self, expert_id: int, rank_budget: Optional[int] = None) -> Dict[str, torch.Tensor]:
        deltas = self.experts[expert_id]["deltas"]
        return self._apply_rank_budget(deltas, rank_budget) if rank_budget else deltas

    def _apply_rank_budget(self, deltas: Dict[str, torch.Tensor], rank_budget: int) -> Dict[str, torch.Tensor]:
        truncated = {}
        for name, delta in deltas.items():
            u, s, vh = torch.linalg.svd(delta, full_matrices=False)
            truncated[name] = (u[:, :rank_budget] * s[:rank_budget]) @ vh[:rank_budget]
        return truncated

    def list_experts(self) -> Dict[int, Dict]:
        return {key: {"name": value["name"], **value["metadata"]} for key, value in self.experts.items()}


class CompositionEngine:
    def __init__(self, config: BEMCompositionConfig, expert_bank: Optional[ExpertBank] = None):
        self.config = config
        self.expert_bank = expert_bank or ExpertBank(config)
        self.chunk_router: Optional[ChunkStickyRouter] = None
        self.composition_count = 0
        budgets = {
            name: TrustRegionBudget(config.spectral_budget, config.frobenius_budget, name)
            for name in config.attachment_points
        }
        self.projector = TrustRegionProjector(budgets)

    def compose_action(self, action: MacroAction, chunk_index: int = 0, sequence_length: int = 1) -> CompositionResult:
        scale = action.bias_scale * (0.8 if action.scope == "local" else 1.0)
        deltas = self.expert_bank.get_expert_deltas(action.expert_id, action.rank_budget)
        projected = self.projector.project_multi_bem_deltas({"expert": {k: scale * v for k, v in deltas.items()}})
        self.composition_count += 1
        return CompositionResult(
            projected.projected_deltas,
            projected.scaling_factors,
            projected.violations,
            {"safe": action.span <= 4 and action.bias_scale <= 2.0},
            {"chunk_index": chunk_index, "expert_id": action.expert_id},
        )

    def compose_sequence(self, actions: List[MacroAction], chunk_boundaries: List[int]) -> Dict[int, CompositionResult]:
        return {start: self.compose_action(action, i) for i, (action, start) in enumerate(zip(actions, chunk_boundaries))}

    def apply_deltas_to_model(
        self,
        model: nn.Module,
        composed_deltas: Dict[str, torch.Tensor],
        attachment_points: Optional[Dict[str, str]] = None,
    ) -> Dict[str, torch.Tensor]:
        originals = {}
        parameters = dict(model.named_parameters())
        for name, delta in composed_deltas.items():
            path = (attachment_points or {}).get(name, f"{name}.weight")
            originals[path] = parameters[path].detach().clone()
            parameters[path].data += delta
        return originals

    def rollback_deltas(self, model: nn.Module, original_weights: Dict[str, torch.Tensor]):
        parameters = dict(model.named_parameters())
        for path, value in original_weights.items():
            parameters[path].data.copy_(value)

    def get_composition_stats(self) -> Dict:
        return {"compositions": self.composition_count, "experts": len(self.expert_bank.experts)}


def create_composition_engine(
    config: Dict, expert_deltas: Optional[Dict[int, Dict[str, torch.Tensor]]] = None
) -> CompositionEngine:
    engine = CompositionEngine(BEMCompositionConfig(**config))
    for expert_id, deltas in (expert_deltas or {}).items():
        engine.expert_bank.register_expert(expert_id, f"expert_{expert_id}", deltas)
    return engine


def create_default_experts() -> Dict[int, Dict[str, torch.Tensor]]:
    shapes = {"attention.w_o": (64, 64), "mlp.w_down": (256, 64)}
    return {
        expert: {name: 0.1 * scale * torch.randn(*shape) for name, shape in shapes.items()}
        for expert, scale in enumerate((0.8, 1.2, 0.6))
    }
