"""Coverage (does the controller look at the image?) and consistency (do the views of it agree?)."""

import logging
import math
from dataclasses import dataclass
from enum import Enum
from typing import Dict, List, NamedTuple, Optional, Tuple

import torch
import torch.nn as nn
import torch.nn.functional as F

from .vision_encoder import VisionFeatures

logger = logging.getLogger(__name__)


class ConsistencyLevel(Enum):
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    CONFLICT = "conflict"


class CoverageMetrics(NamedTuple):
    spatial_entropy: torch.Tensor
    object_coverage: torch.Tensor
    region_diversity: torch.Tensor
    attention_spread: torch.Tensor
    overall_score: torch.Tensor


class ConsistencyMetrics(NamedTuple):
    global_local_consistency: torch.Tensor
    cross_modal_alignment: torch.Tensor
    temporal_consistency: torch.Tensor
    semantic_coherence: torch.Tensor
    overall_score: torch.Tensor


@dataclass
class ConflictAnalysis:
    conflict_detected: bool
    confidence_level: ConsistencyLevel
    coverage_score: float
    consistency_score: float
    recommended_action: str
    failure_modes: List[str]


def boxes_to_patch_mask(boxes: List[List[float]], grid: Tuple[int, int]) -> torch.Tensor:
    """Which patches a box [x0, y0, x1, y1] (from 0 to 1) touches."""
    rows, cols = grid
    mask = torch.zeros(rows, cols)
    for x0, y0, x1, y1 in boxes:
        for r in range(rows):
            for c in range(cols):
                if x0 * cols < c + 1 and x1 * cols > c and y0 * rows < r + 1 and y1 * rows > r:
                    mask[r, c] = 1.0
    return mask.flatten()


class ObjectDetector(nn.Module):
    """Counts regions with something in them; only for images whose objects are not known."""

    def __init__(self, feature_dim: int = 512, num_object_classes: int = 80, detection_threshold: float = 0.5):
        super().__init__()
        self.feature_dim = feature_dim
        self.num_object_classes = num_object_classes
        self.detection_threshold = detection_threshold
        self.object_classifier = nn.Linear(feature_dim, num_object_classes)
        self.spatial_localizer = nn.Linear(feature_dim, 4)
        self.confidence_estimator = nn.Linear(feature_dim, 1)

    def forward(self, region_features: torch.Tensor) -> Dict[str, torch.Tensor]:
        confidence = torch.sigmoid(self.confidence_estimator(region_features)).squeeze(-1)
        detected = confidence > self.detection_threshold
        return {
            "class_logits": self.object_classifier(region_features),
            "boxes": torch.sigmoid(self.spatial_localizer(region_features)),
            "confidence": confidence,
            "detections": detected,
            "num_detections": detected.sum(dim=-1),
        }


class CoverageAnalyzer(nn.Module):
    def __init__(self, vision_dim: int = 512, num_regions: int = 8, patch_grid_size: Tuple[int, int] = (14, 14)):
        super().__init__()
        self.vision_dim = vision_dim
        self.num_regions = num_regions
        self.patch_grid_size = tuple(patch_grid_size)
        self.object_detector = ObjectDetector(vision_dim)

    def _compute_spatial_entropy(
        self, attention_weights: Optional[torch.Tensor], patch_embeddings: torch.Tensor
    ) -> torch.Tensor:
        if attention_weights is None:
            attention_weights = torch.softmax(patch_embeddings.norm(dim=-1), dim=-1)
        entropy = -(attention_weights * torch.log(attention_weights + 1e-8)).sum(dim=-1)
        return entropy / math.log(attention_weights.shape[-1])

    def _compute_region_diversity(self, region_features: torch.Tensor) -> torch.Tensor:
        normed = F.normalize(region_features, dim=-1)
        similarity = torch.bmm(normed, normed.transpose(1, 2))
        count = region_features.shape[1]
        off_diagonal = similarity.sum(dim=(1, 2)) - similarity.diagonal(dim1=1, dim2=2).sum(dim=-1)
        return 1.0 - off_diagonal / max(count * (count - 1), 1)

    def _compute_attention_spread(
        self, attention_weights: Optional[torch.Tensor], patch_grid_size: Tuple[int, int]
    ) -> torch.Tensor:
        if attention_weights is None:
            return torch.zeros(1)
        rows, cols = patch_grid_size
        if rows * cols != attention_weights.shape[-1]:
            rows = cols = int(attention_weights.shape[-1] ** 0.5)
        device = attention_weights.device
        y = (torch.arange(rows, device=device).float() / max(rows - 1, 1)).repeat_interleave(cols)
        x = (torch.arange(cols, device=device).float() / max(cols - 1, 1)).repeat(rows)
        mean_y = (attention_weights * y).sum(dim=-1, keepdim=True)
        mean_x = (attention_weights * x).sum(dim=-1, keepdim=True)
        return (attention_weights * ((y - mean_y) ** 2 + (x - mean_x) ** 2)).sum(dim=-1)

    def forward(self, vision_features: VisionFeatures, object_mask: Optional[torch.Tensor] = None) -> CoverageMetrics:
        attention = vision_features.spatial_attention
        entropy = self._compute_spatial_entropy(attention, vision_features.patch_embeddings)
        diversity = self._compute_region_diversity(vision_features.region_summaries)
        spread = self._compute_attention_spread(attention, self.patch_grid_size)
        if object_mask is not None and attention is not None:
            # how much of the attention is on the objects
            object_coverage = (attention * object_mask).sum(dim=-1)
            known = object_mask.sum(dim=-1) > 0
            overall = torch.where(known, object_coverage, entropy)
        else:
            with torch.no_grad():
                found = self.object_detector(vision_features.region_summaries)
            object_coverage = found["num_detections"].float() / vision_features.region_summaries.shape[1]
            overall = entropy
        return CoverageMetrics(entropy, object_coverage, diversity, spread, overall)


class ConsistencyAnalyzer(nn.Module):
    def __init__(self, vision_dim: int = 512, text_dim: int = 512, num_regions: int = 8):
        super().__init__()
        self.vision_dim = vision_dim
        self.text_dim = text_dim
        self.num_regions = num_regions
        self.register_buffer("prev_vision_features", torch.zeros(1, vision_dim))
        self.register_buffer("prev_text_features", torch.zeros(1, text_dim))
        self.register_buffer("consistency_history", torch.zeros(10))
        self.register_buffer("history_index", torch.tensor(0))

    def _compute_global_local_consistency(
        self, cls_embedding: torch.Tensor, region_summaries: torch.Tensor
    ) -> torch.Tensor:
        return F.cosine_similarity(cls_embedding.unsqueeze(1), region_summaries, dim=-1).mean(dim=-1)

    def _compute_cross_modal_alignment(
        self, vision_features: torch.Tensor, text_features: torch.Tensor
    ) -> torch.Tensor:
        return F.cosine_similarity(vision_features, text_features, dim=-1)

    def _update_temporal_consistency(
        self, current_vision: torch.Tensor, current_text: torch.Tensor, consistency_score: torch.Tensor
    ) -> torch.Tensor:
        with torch.no_grad():
            vision = current_vision.detach().mean(dim=0, keepdim=True)
            text = current_text.detach().mean(dim=0, keepdim=True)
            temporal = (
                F.cosine_similarity(vision, self.prev_vision_features, dim=-1)
                + F.cosine_similarity(text, self.prev_text_features, dim=-1)
            ) / 2
            self.prev_vision_features.copy_(vision)
            self.prev_text_features.copy_(text)
            index = int(self.history_index) % 10
            self.consistency_history[index] = consistency_score.detach().mean()
            self.history_index += 1
        return temporal.expand(current_vision.shape[0])

    def _compute_semantic_coherence(self, vision_features: VisionFeatures) -> torch.Tensor:
        cls_pool = F.cosine_similarity(vision_features.cls_embedding, vision_features.pool_embedding, dim=-1)
        cls_region = F.cosine_similarity(
            vision_features.cls_embedding.unsqueeze(1), vision_features.region_summaries, dim=-1
        ).mean(dim=-1)
        return (cls_pool + cls_region) / 2

    def forward(self, vision_features: VisionFeatures, text_features: torch.Tensor) -> ConsistencyMetrics:
        global_local = self._compute_global_local_consistency(
            vision_features.cls_embedding, vision_features.region_summaries
        )
        alignment = self._compute_cross_modal_alignment(vision_features.cls_embedding, text_features)
        coherence = self._compute_semantic_coherence(vision_features)
        overall = (1.0 + (global_local + alignment + coherence) / 3) / 2
        temporal = self._update_temporal_consistency(vision_features.cls_embedding, text_features, overall)
        return ConsistencyMetrics(global_local, alignment, temporal, coherence, overall)


class ConsistencyGate(nn.Module):
    def __init__(
        self,
        vision_dim: int = 512,
        text_dim: int = 512,
        num_regions: int = 8,
        patch_grid_size: Tuple[int, int] = (14, 14),
        high_consistency_threshold: float = 0.8,
        medium_consistency_threshold: float = 0.5,
        low_consistency_threshold: float = 0.3,
        coverage_threshold: float = 0.4,
    ):
        super().__init__()
        self.high_consistency_threshold = high_consistency_threshold
        self.medium_consistency_threshold = medium_consistency_threshold
        self.low_consistency_threshold = low_consistency_threshold
        self.coverage_threshold = coverage_threshold
        self.coverage_analyzer = CoverageAnalyzer(vision_dim, num_regions, patch_grid_size)
        self.consistency_analyzer = ConsistencyAnalyzer(vision_dim, text_dim, num_regions)
        self.register_buffer("gate_count", torch.tensor(0))
        self.register_buffer("total_count", torch.tensor(0))
        self.register_buffer("avg_coverage", torch.tensor(0.0))
        self.register_buffer("avg_consistency", torch.tensor(0.0))

    def _classify_consistency_level(self, consistency_score: torch.Tensor) -> Tuple[ConsistencyLevel, torch.Tensor]:
        weights = torch.zeros_like(consistency_score)
        weights = torch.where(
            consistency_score > self.low_consistency_threshold, torch.full_like(weights, 0.3), weights
        )
        weights = torch.where(
            consistency_score > self.medium_consistency_threshold, torch.full_like(weights, 0.7), weights
        )
        weights = torch.where(
            consistency_score > self.high_consistency_threshold, torch.full_like(weights, 1.0), weights
        )
        mean = float(consistency_score.mean())
        if mean > self.high_consistency_threshold:
            level = ConsistencyLevel.HIGH
        elif mean > self.medium_consistency_threshold:
            level = ConsistencyLevel.MEDIUM
        elif mean > self.low_consistency_threshold:
            level = ConsistencyLevel.LOW
        else:
            level = ConsistencyLevel.CONFLICT
        return level, weights

    def _detect_failure_modes(
        self, coverage_metrics: CoverageMetrics, consistency_metrics: ConsistencyMetrics
    ) -> List[str]:
        modes = []
        if float(coverage_metrics.spatial_entropy.mean()) < 0.3:
            modes.append("low_spatial_coverage")
        if float(coverage_metrics.object_coverage.mean()) < 0.2:
            modes.append("objects_missed")
        if float(coverage_metrics.region_diversity.mean()) < 0.1:
            modes.append("uniform_regions")
        if float(coverage_metrics.attention_spread.mean()) < 0.02:
            modes.append("attention_collapsed")
        if float(consistency_metrics.global_local_consistency.mean()) < 0.3:
            modes.append("global_local_mismatch")
        if float(consistency_metrics.cross_modal_alignment.mean()) < 0.2:
            modes.append("cross_modal_mismatch")
        if float(consistency_metrics.semantic_coherence.mean()) < 0.3:
            modes.append("incoherent")
        return modes

    def forward(
        self,
        vision_features: VisionFeatures,
        text_features: torch.Tensor,
        return_analysis: bool = False,
        object_mask: Optional[torch.Tensor] = None,
    ) -> Tuple[torch.Tensor, ConflictAnalysis]:
        coverage = self.coverage_analyzer(vision_features, object_mask)
        consistency = self.consistency_analyzer(vision_features, text_features)
        level, weights = self._classify_consistency_level(consistency.overall_score)
        weights = weights * (coverage.overall_score > self.coverage_threshold).float()
        mean = float(weights.mean())
        action = "proceed" if mean > 0.8 else "gate" if mean > 0.3 else "fallback"
        analysis = ConflictAnalysis(
            conflict_detected=level == ConsistencyLevel.CONFLICT,
            confidence_level=level,
            coverage_score=float(coverage.overall_score.mean()),
            consistency_score=float(consistency.overall_score.mean()),
            recommended_action=action,
            failure_modes=self._detect_failure_modes(coverage, consistency) if return_analysis else [],
        )
        self.total_count += 1
        if action != "proceed":
            self.gate_count += 1
        self.avg_coverage.copy_(0.99 * self.avg_coverage + 0.01 * analysis.coverage_score)
        self.avg_consistency.copy_(0.99 * self.avg_consistency + 0.01 * analysis.consistency_score)
        return weights, analysis

    def get_statistics(self) -> Dict[str, float]:
        total = max(int(self.total_count), 1)
        return {
            "gate_rate": int(self.gate_count) / total,
            "total_count": int(self.total_count),
            "avg_coverage": float(self.avg_coverage),
            "avg_consistency": float(self.avg_consistency),
        }

    def reset_statistics(self):
        self.gate_count.zero_()
        self.total_count.zero_()
        self.avg_coverage.zero_()
        self.avg_consistency.zero_()
