"""The hierarchical controller with vision as a side signal."""

from dataclasses import dataclass
from typing import Any, Dict, Optional, Tuple, Union

import torch
import torch.nn as nn

from ..controller import HierarchicalController, RoutingState, RoutingLevel
from .vision_encoder import VisionFeatures


@dataclass
class MultimodalRoutingState(RoutingState):
    vision_features: Optional[VisionFeatures] = None
    visual_attention: Optional[torch.Tensor] = None
    cross_modal_alignment: Optional[torch.Tensor] = None
    conflict_gate_active: bool = False


class VisionProjector(nn.Module):
    def __init__(self, vision_dim: int, controller_dim: int, dropout: float = 0.1):
        super().__init__()
        self.base = nn.Linear(vision_dim, controller_dim)
        self.gate = nn.Sequential(nn.Linear(vision_dim, controller_dim), nn.Sigmoid(), nn.Dropout(dropout))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.base(features) * self.gate(features)


class ConflictGate(nn.Module):
    def __init__(self, consistency_threshold: float = 0.5, coverage_threshold: float = 0.3):
        super().__init__()
        self.consistency_threshold, self.coverage_threshold = consistency_threshold, coverage_threshold

    def forward(self, consistency: torch.Tensor, coverage: torch.Tensor) -> torch.Tensor:
        return ((consistency > self.consistency_threshold) & (coverage > self.coverage_threshold)).float()


class MultimodalController(HierarchicalController):
    def __init__(self, input_dim: int, code_dim: int, vision_dim: int = 512, **kwargs):
        super().__init__(input_dim, code_dim, side_signal_dim=2 * input_dim, **kwargs)
        self.projector = VisionProjector(vision_dim, input_dim)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: Optional[torch.Tensor] = None,
        vision_features: Optional[VisionFeatures] = None,
        routing_level: Union[RoutingLevel, str] = RoutingLevel.CHUNK,
        chunk_position: int = 0,
        return_routing_state: bool = False,
        enable_vision_conditioning: bool = True,
    ):
        side = None
        if vision_features is not None and enable_vision_conditioning:
            parts = (vision_features.cls_embedding, vision_features.region_summaries.mean(dim=1))
            side = torch.cat([self.projector(part) for part in parts], dim=-1)
        return super().forward(
            hidden_states, attention_mask, side, routing_level, chunk_position, return_routing_state
        )


def create_multimodal_controller(
    model_config: Dict[str, Any],
    vision_config: Optional[Dict[str, Any]] = None,
    controller_config: Optional[Dict[str, Any]] = None,
) -> MultimodalController:
    values = {"code_dim": 8, "vision_dim": 512, **(vision_config or {}), **(controller_config or {})}
    return MultimodalController(model_config["hidden_size"], **values)
