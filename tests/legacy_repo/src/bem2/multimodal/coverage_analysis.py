"""Does the text talk about the whole picture, and about the same picture?"""

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Tuple

import torch
import torch.nn as nn
import torch.nn.functional as F

from .vision_encoder import VisionFeatures


class ConsistencyLevel(Enum):
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    CONFLICT = "conflict"


class CoverageMetrics(NamedTuple):
    spatial_entropy: torch.Tensor
    region_diversity: torch.Tensor
    overall_score: torch.Tensor


class ConsistencyMetrics(NamedTuple):
    global_local_consistency: torch.Tensor
    cross_modal_alignment: torch.Tensor
    overall_score: torch.Tensor


@dataclass
class ConflictAnalysis:
    conflict_detected: bool
    confidence_level: ConsistencyLevel
    coverage_score: float
    consistency_score: float


class CoverageAnalyzer(nn.Module):
    def __init__(self, vision_dim: int = 512, num_regions: int = 8, patch_grid_size: Tuple[int, int] = (14, 14)):
        super().__init__()
        self.score = nn.Linear(vision_dim, 1)

    def forward(self, vision_features: VisionFeatures) -> CoverageMetrics:
        weights = torch.softmax(vision_features.patch_embeddings.norm(dim=-1), dim=-1)
        entropy = -(weights * weights.log()).sum(dim=-1) / torch.tensor(float(weights.shape[-1])).log()
        regions = F.normalize(vision_features.region_summaries, dim=-1)
        similarity = regions @ regions.transpose(1, 2)
        count = regions.shape[1]
        diversity = 1 - (similarity.sum(dim=(1, 2)) - count) / (count * (count - 1))
        overall = torch.sigmoid(self.score(vision_features.region_summaries.mean(dim=1))).squeeze(-1)
        return CoverageMetrics(entropy, diversity, overall)


class ConsistencyAnalyzer(nn.Module):
    def forward(self, vision_features: VisionFeatures, text_features: torch.Tensor) -> ConsistencyMetrics:
        cls = vision_features.cls_embedding
        local = F.cosine_similarity(cls.unsqueeze(1), vision_features.region_summaries, dim=-1).mean(dim=1)
        aligned = F.cosine_similarity(cls, text_features, dim=-1)
        return ConsistencyMetrics(local, aligned, (local + aligned) / 2)


class ConsistencyGate(nn.Module):
    def __init__(self, vision_dim: int = 512, high: float = 0.8, medium: float = 0.5, low: float = 0.3):
        super().__init__()
        self.coverage, self.consistency = CoverageAnalyzer(vision_dim), ConsistencyAnalyzer()
        self.levels = ((high, ConsistencyLevel.HIGH), (medium, ConsistencyLevel.MEDIUM), (low, ConsistencyLevel.LOW))

    def forward(self, vision_features: VisionFeatures, text_features: torch.Tensor):
        coverage = self.coverage(vision_features).overall_score
        consistency = self.consistency(vision_features, text_features).overall_score
        score = float(consistency.mean())
        level = next((level for limit, level in self.levels if score > limit), ConsistencyLevel.CONFLICT)
        analysis = ConflictAnalysis(level is ConsistencyLevel.CONFLICT, level, float(coverage.mean()), score)
        return coverage * consistency, analysis
