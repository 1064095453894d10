"""The hierarchical controller with vision as a side signal."""

import logging
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Tuple, Union

import torch
import torch.nn as nn
import torch.nn.functional as F

try:
    from bem_legacy.controller import HierarchicalController, RoutingState, RoutingLevel
except ImportError:
    from src.bem_legacy.controller import HierarchicalController, RoutingState, RoutingLevel
from .vision_encoder import VisionFeatures

logger = logging.getLogger(__name__)


@dataclass
class MultimodalRoutingState(RoutingState):
    vision_features: Optional[VisionFeatures] = None
    visual_attention: Optional[torch.Tensor] = None
    cross_modal_alignment: Optional[torch.Tensor] = None
    conflict_gate_active: bool = False


class VisionProjector(nn.Module):
    """Brings vision features into the space of the controller."""

    def __init__(self, vision_dim: int, controller_dim: int, projection_mode: str = "adaptive", dropout: float = 0.1):
        super().__init__()
        self.vision_dim = vision_dim
        self.controller_dim = controller_dim
        self.projection_mode = projection_mode
        if projection_mode == "adaptive":
            self.base_projector = nn.Linear(vision_dim, controller_dim)
            self.feature_gate = nn.Sequential(nn.Linear(vision_dim, controller_dim), nn.Sigmoid())
        elif projection_mode == "separate":
            self.cls_projector = nn.Linear(vision_dim, controller_dim)
            self.pool_projector = nn.Linear(vision_dim, controller_dim)
            self.patch_projector = nn.Linear(vision_dim, controller_dim)
            self.region_projector = nn.Linear(vision_dim, controller_dim)
        else:
            raise ValueError(f"unknown projection_mode {projection_mode}")
        self.dropout = nn.Dropout(dropout)
        self._initialize_weights()

    def _initialize_weights(self):
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def _adaptive(self, x: torch.Tensor) -> torch.Tensor:
        return self.dropout(self.base_projector(x) * self.feature_gate(x))

    def forward(
        self, vision_features: VisionFeatures, text_context: Optional[torch.Tensor] = None
    ) -> Dict[str, torch.Tensor]:
        f = vision_features
        if self.projection_mode == "adaptive":
            return {
                "cls": self._adaptive(f.cls_embedding),
                "pool": self._adaptive(f.pool_embedding),
                "patches": self._adaptive(f.patch_embeddings),
                "regions": self._adaptive(f.region_summaries),
            }
        return {
            "cls": self.dropout(self.cls_projector(f.cls_embedding)),
            "pool": self.dropout(self.pool_projector(f.pool_embedding)),
            "patches": self.dropout(self.patch_projector(f.patch_embeddings)),
            "regions": self.dropout(self.region_projector(f.region_summaries)),
        }


class ConflictGate(nn.Module):
    """Turns vision down where it does not fit the text, and off where the image was not understood."""

    def __init__(
        self,
        controller_dim: int,
        consistency_threshold: float = 0.5,
        coverage_threshold: float = 0.3,
        gate_smoothing: float = 0.9,
    ):
        super().__init__()
        self.controller_dim = controller_dim
        self.consistency_threshold = consistency_threshold
        self.coverage_threshold = coverage_threshold
        self.gate_smoothing = gate_smoothing
        self.conflict_detector = nn.Sequential(
            nn.Linear(2 * controller_dim, controller_dim),
            nn.GELU(),
            nn.Linear(controller_dim, 1),
        )
        nn.init.constant_(self.conflict_detector[2].bias, 2.0)
        self.register_buffer("gate_ema", torch.tensor(1.0))
        self.register_buffer("ema_initialized", torch.tensor(False))

    def forward(
        self,
        vision_features: torch.Tensor,
        text_features: torch.Tensor,
        consistency_score: Optional[torch.Tensor] = None,
        coverage_score: Optional[torch.Tensor] = None,
        training: bool = True,
    ) -> Tuple[torch.Tensor, bool]:
        logit = self.conflict_detector(torch.cat([vision_features, text_features], dim=-1))
        gate = torch.sigmoid(logit).squeeze(-1)
        if consistency_score is not None:
            gate = gate * (consistency_score > self.consistency_threshold).float()
        if coverage_score is not None:
            gate = gate * (coverage_score > self.coverage_threshold).float()
        if training:
            with torch.no_grad():
                mean = gate.detach().mean()
                if bool(self.ema_initialized):
                    self.gate_ema.copy_(self.gate_smoothing * self.gate_ema + (1 - self.gate_smoothing) * mean)
                else:
                    self.gate_ema.copy_(mean)
                    self.ema_initialized.fill_(True)
        return gate, bool(self.gate_ema < 0.8)


class ChunkAligner(nn.Module):
    """Weighs the patches for a chunk: what is in them, and where they are."""

    def __init__(self, patch_grid_size: Tuple[int, int] = (14, 14), chunk_size: int = 32, controller_dim: int = 512):
        super().__init__()
        self.patch_grid_size = tuple(patch_grid_size)
        self.chunk_size = chunk_size
        self.controller_dim = controller_dim
        self.num_patches = patch_grid_size[0] * patch_grid_size[1]
        self.alignment_net = nn.Sequential(
            nn.Linear(controller_dim, controller_dim // 2),
            nn.GELU(),
            nn.Linear(controller_dim // 2, 1, bias=False),
        )

    def attention_weights(self, patch_features: torch.Tensor, chunk_position: int, text_length: int) -> torch.Tensor:
        num_patches = patch_features.shape[1]
        rows, cols = self.patch_grid_size
        if rows * cols != num_patches:
            rows = cols = int(num_patches**0.5)
        progress = chunk_position / max(text_length, 1)
        row = torch.arange(rows, device=patch_features.device).float() / max(rows - 1, 1)
        col = torch.arange(cols, device=patch_features.device).float() / max(cols - 1, 1)
        place = 0.7 * row.unsqueeze(1) + 0.3 * col.unsqueeze(0)
        prior = torch.exp(-3.0 * torch.abs(place - progress)).flatten()
        # one softmax over both; softmaxes inside a softmax leave nothing but uniform weights
        content = self.alignment_net(patch_features).squeeze(-1)
        return torch.softmax(0.7 * prior + content, dim=-1)

    def forward(self, patch_features: torch.Tensor, chunk_position: int, text_length: int) -> torch.Tensor:
        weights = self.attention_weights(patch_features, chunk_position, text_length)
        return torch.bmm(weights.unsqueeze(1), patch_features).squeeze(1)


class MultimodalController(HierarchicalController):
    def __init__(
        self,
        input_dim: int,
        code_dim: int,
        vision_dim: int = 512,
        hidden_dim: Optional[int] = None,
        dropout: float = 0.1,
        chunk_size: int = 32,
        max_prefix_tokens: int = 128,
        ema_decay: float = 0.99,
        enable_uncertainty: bool = True,
        enable_token_routing: bool = True,
        code_clamp_value: float = 3.0,
        projection_mode: str = "adaptive",
        consistency_threshold: float = 0.5,
        coverage_threshold: float = 0.3,
        patch_grid_size: Tuple[int, int] = (14, 14),
        enable_conflict_gating: bool = True,
        answer_vocab: Optional[List[str]] = None,
    ):
        super().__init__(
            input_dim=input_dim,
            code_dim=code_dim,
            hidden_dim=hidden_dim,
            dropout=dropout,
            chunk_size=chunk_size,
            max_prefix_tokens=max_prefix_tokens,
            ema_decay=ema_decay,
            side_signal_dim=3 * input_dim,
            enable_uncertainty=enable_uncertainty,
            enable_token_routing=enable_token_routing,
            code_clamp_value=code_clamp_value,
        )
        self.vision_dim = vision_dim
        self.patch_grid_size = tuple(patch_grid_size)
        self.enable_conflict_gating = enable_conflict_gating
        self.vision_projector = VisionProjector(vision_dim, input_dim, projection_mode, dropout)
        self.chunk_aligner = ChunkAligner(patch_grid_size, chunk_size, input_dim)
        if enable_conflict_gating:
            self.conflict_gate = ConflictGate(input_dim, consistency_threshold, coverage_threshold)
        else:
            self.conflict_gate = None
        self.answer_vocab = list(answer_vocab or ["yes", "no"])
        self.answer_head = nn.Linear(code_dim, len(self.answer_vocab))

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: Optional[torch.Tensor] = None,
        vision_features: Optional[VisionFeatures] = None,
        routing_level: Union[RoutingLevel, str] = RoutingLevel.CHUNK,
        chunk_position: int = 0,
        return_routing_state: bool = False,
        enable_vision_conditioning: bool = True,
    ) -> Union[torch.Tensor, Tuple[torch.Tensor, MultimodalRoutingState]]:
        side = None
        extra: Dict[str, Any] = {}
        if vision_features is not None and enable_vision_conditioning:
            projected = self.vision_projector(vision_features)
            text = self._summarize(hidden_states, attention_mask)
            weights = self.chunk_aligner.attention_weights(
                projected["patches"], chunk_position, hidden_states.shape[1]
            )
            aligned = torch.bmm(weights.unsqueeze(1), projected["patches"]).squeeze(1)
            side = torch.cat([projected["cls"], projected["regions"].mean(dim=1), aligned], dim=-1)
            active = False
            if self.conflict_gate is not None:
                gate, active = self.conflict_gate(
                    projected["cls"],
                    text,
                    vision_features.consistency_score,
                    vision_features.coverage_score,
                    self.training,
                )
                side = side * gate.unsqueeze(-1)
            extra = {
                "vision_features": VisionFeatures(
                    cls_embedding=projected["cls"],
                    pool_embedding=projected["pool"],
                    patch_embeddings=projected["patches"],
                    region_summaries=projected["regions"],
                    spatial_attention=weights,
                ),
                "visual_attention": weights,
                "cross_modal_alignment": F.cosine_similarity(projected["cls"], text, dim=-1),
                "conflict_gate_active": active,
            }
        result = super().forward(
            hidden_states, attention_mask, side, routing_level, chunk_position, return_routing_state
        )
        if not return_routing_state:
            return result
        codes, state = result
        return codes, MultimodalRoutingState(**{**state.__dict__, **extra})

    @property
    def finest_level(self) -> RoutingLevel:
        return RoutingLevel.TOKEN if self.token_router is not None else RoutingLevel.CHUNK

    def answer_logits(self, codes: torch.Tensor, attention_mask: Optional[torch.Tensor] = None) -> torch.Tensor:
        if codes.dim() == 3:
            if attention_mask is None:
                codes = codes.mean(dim=1)
            else:
                mask = attention_mask.unsqueeze(-1).to(codes.dtype)
                codes = (codes * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1.0)
        return self.answer_head(codes)


def create_multimodal_controller(
    model_config: Dict[str, Any],
    vision_config: Optional[Dict[str, Any]] = None,
    controller_config: Optional[Dict[str, Any]] = None,
) -> MultimodalController:
    vision_config = vision_config or {}
    config: Dict[str, Any] = {"code_dim": 8}
    config.update(controller_config or {})
    if "rank" in config:
        config["code_dim"] = config.pop("rank")
    config.setdefault("vision_dim", vision_config.get("vision_dim", 512))
    if "patch_grid_size" in vision_config:
        config.setdefault("patch_grid_size", tuple(vision_config["patch_grid_size"]))
    return MultimodalController(input_dim=model_config["hidden_size"], **config)
