"""A small patch encoder."""

from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Tuple

import torch
import torch.nn as nn


@dataclass
class VisionFeatures:
    cls_embedding: torch.Tensor
    pool_embedding: torch.Tensor
    patch_embeddings: torch.Tensor
    region_summaries: torch.Tensor
    spatial_attention: Optional[torch.Tensor] = None
    coverage_score: Optional[torch.Tensor] = None
    consistency_score: Optional[torch.Tensor] = None

    @property
    def batch_size(self) -> int:
        return self.cls_embedding.shape[0]

    @property
    def vision_dim(self) -> int:
        return self.cls_embedding.shape[-1]


class VisionEncoder(nn.Module):
    def __init__(
        self,
        model_path: str = "models/vision",
        vision_dim: int = 512,
        num_regions: int = 8,
        enable_coverage_analysis: bool = True,
        cache_dir: Optional[str] = None,
    ):
        super().__init__()
        self.model_path, self.num_regions, self.image_size = model_path, num_regions, 224
        self.patches = nn.Conv2d(3, vision_dim, kernel_size=32, stride=32)
        self.norm = nn.LayerNorm(vision_dim)

    def preprocess_images(self, images: List) -> torch.Tensor:
        return torch.stack([torch.as_tensor(image, dtype=torch.float32) for image in images])

    def forward(self, pixel_values: torch.Tensor, return_attention: bool = False) -> VisionFeatures:
        grid = self.patches(pixel_values)
        patches = self.norm(grid.flatten(2).transpose(1, 2))
        regions = nn.functional.adaptive_avg_pool2d(grid, (self.num_regions, 1)).squeeze(-1).transpose(1, 2)
        pooled = self.norm(patches.mean(dim=1))
        attention = torch.softmax(patches.norm(dim=-1), dim=-1)
        coverage = -(attention * attention.log()).sum(dim=-1) / torch.tensor(float(attention.shape[-1])).log()
        return VisionFeatures(patches[:, 0], pooled, patches, self.norm(regions), attention, coverage)

    def get_patch_grid_size(self) -> Tuple[int, int]:
        side = self.image_size // 32
        return side, side


def create_vision_encoder(model_path: str = "models/vision", config: Optional[Dict[str, Any]] = None) -> VisionEncoder:
    return VisionEncoder(model_path, **(config or {}))
