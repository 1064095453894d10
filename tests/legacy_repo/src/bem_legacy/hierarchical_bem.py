"""Phase 2: a low-rank delta driven by the three-level controller."""

from dataclasses import dataclass
from typing import Optional

import torch
import torch.nn as nn

from .controller import HierarchicalController, RoutingLevel


@dataclass
class HierarchicalBEMConfig:
    rank: int = 8
    alpha: float = 16.0
    chunk_size: int = 32


class HierarchicalBEMModule(nn.Module):
    def __init__(self, base_layer: nn.Linear, config: Optional[HierarchicalBEMConfig] = None):
        super().__init__()
        self.config = config or HierarchicalBEMConfig()
        self.base_layer = base_layer
        self.controller = HierarchicalController(
            base_layer.in_features, self.config.rank, chunk_size=self.config.chunk_size
        )
        self.U = nn.Parameter(torch.zeros(base_layer.out_features, self.config.rank))
        self.V = nn.Parameter(torch.randn(self.config.rank, base_layer.in_features) * 0.02)

    def forward(self, x: torch.Tensor, routing_level: RoutingLevel = RoutingLevel.CHUNK) -> torch.Tensor:
        code = self.controller(x, routing_level=routing_level)
        code = code if code.dim() == 3 else code.unsqueeze(1)
        try:
            from .kernels.cuda_ops import fused_generated_update, KERNELS_AVAILABLE
        except ImportError:
            KERNELS_AVAILABLE = False
        if KERNELS_AVAILABLE:
            return self.base_layer(x) + fused_generated_update(x, self.U, self.V, code)
        return self.base_layer(x) + (x @ self.V.T * code) @ self.U.T


FullHierarchicalBEM = HierarchicalBEMModule


def create_hierarchical_bem(
    base_layer: nn.Linear, config: Optional[HierarchicalBEMConfig] = None
) -> HierarchicalBEMModule:
    return HierarchicalBEMModule(base_layer, config)


def create_hierarchical_bem_for_validation(hidden_size: int = 32) -> HierarchicalBEMModule:
    return create_hierarchical_bem(nn.Linear(hidden_size, hidden_size))
