"""Phase 4: several BEMs in orthogonal subspaces of one layer."""

from dataclasses import dataclass
from typing import Dict

from .subspace import SubspacePlanner
from .trust_region import TrustRegionProjector, create_trust_region_projector


@dataclass
class MultiBEMConfig:
    total_dim: int = 512
    subspace_dim: int = 64


class MultiBEMComposer:
    def __init__(self, config: MultiBEMConfig, projector: TrustRegionProjector):
        self.config, self.projector = config, projector
        self.planner = SubspacePlanner(config.total_dim)
        self.bems: Dict[str, object] = {}

    def register_bem(self, bem_id: str, module: object) -> None:
        self.planner.allocate_subspace(bem_id, self.config.subspace_dim)
        self.bems[bem_id] = module


def create_multi_bem_composer(layer_names, config: MultiBEMConfig = None) -> MultiBEMComposer:
    return MultiBEMComposer(config or MultiBEMConfig(), create_trust_region_projector(layer_names))
