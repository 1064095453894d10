"""First attempt at the integration, before the controller moved to bem_legacy. Nobody imports it."""

import torch

from ..controller import HierarchicalController, RoutingState, RoutingLevel
from .vision_encoder import VisionFeatures


class VisionConditionedController(HierarchicalController):
    def forward(self, hidden_states: torch.Tensor, vision_features: VisionFeatures, **kwargs):
        side = vision_features.cls_embedding
        return super().forward(hidden_states, side_signals=side, routing_level=RoutingLevel.CHUNK, **kwargs)


def empty_state() -> RoutingState:
    return RoutingState()
