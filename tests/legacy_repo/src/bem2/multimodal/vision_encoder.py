"""Vision encoder: CLIP where it can be loaded, a small ViT with random weights otherwise."""

import json
import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

try:
    import transformers

    HAS_TRANSFORMERS = True
except ImportError:
    HAS_TRANSFORMERS = False

try:
    from PIL import Image

    HAS_PIL = True
except ImportError:
    HAS_PIL = False

logger = logging.getLogger(__name__)

IMAGE_MEAN = [0.48145466, 0.4578275, 0.40821073]
IMAGE_STD = [0.26862954, 0.26130258, 0.27577711]


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

    @property
    def num_patches(self) -> int:
        return self.patch_embeddings.shape[1]

    @property
    def num_regions(self) -> int:
        return self.region_summaries.shape[1]


class MockVisionModel(nn.Module):
    """Stands where CLIP stood: patches, a class token, positions and some layers."""

    def __init__(self, dim: int, image_size: int = 224, patch_size: int = 32, num_layers: int = 6):
        super().__init__()
        self.num_patches = (image_size // patch_size) ** 2
        self.patch_embedding = nn.Conv2d(3, dim, kernel_size=patch_size, stride=patch_size)
        self.class_embedding = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.position_embedding = nn.Parameter(torch.randn(1, self.num_patches + 1, dim) * 0.02)
        heads = 8 if dim % 8 == 0 else 1
        self.layers = nn.ModuleList(
            [
                nn.TransformerEncoderLayer(
                    dim, heads, 4 * dim, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
                )
                for _ in range(num_layers)
            ]
        )

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        x = self.patch_embedding(pixel_values).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(x.shape[0], -1, -1), x], dim=1)
        x = x + self.position_embedding
        for layer in self.layers:
            x = layer(x)
        return x


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
        self.model_path = Path(model_path)
        self.vision_dim = vision_dim
        self.num_regions = num_regions
        self.enable_coverage_analysis = enable_coverage_analysis
        self.cache_dir = cache_dir
        self.metadata = self._load_metadata()
        self.image_size = int(self.metadata.get("image_size", 224))
        self.patch_size = int(self.metadata.get("patch_size", 32))
        self.clip_model = self._load_clip_model()
        self.processor = self._load_processor()
        self.region_pooler = nn.AdaptiveAvgPool2d((num_regions, 1))
        self.feature_norm = nn.LayerNorm(self.vision_dim)
        self.spatial_attention = nn.Sequential(
            nn.Linear(self.vision_dim, max(self.vision_dim // 4, 1)),
            nn.GELU(),
            nn.Linear(max(self.vision_dim // 4, 1), 1),
        )
        self._freeze_clip_parameters()

    def _load_metadata(self) -> Dict[str, Any]:
        path = self.model_path / "metadata.json"
        if path.exists():
            with open(path) as f:
                return json.load(f)
        return {}

    def _load_clip_model(self) -> nn.Module:
        if HAS_TRANSFORMERS and self.metadata.get("model_type") == "clip":
            try:
                model = transformers.CLIPVisionModel.from_pretrained(str(self.model_path), local_files_only=True)
                self.vision_dim = model.config.hidden_size
                self.image_size = model.config.image_size
                self.patch_size = model.config.patch_size
                return model
            except Exception as e:
                logger.warning(f"CLIP not loaded, using the mock model: {e}")
        return self._create_mock_clip_model()

    def _create_mock_clip_model(self) -> nn.Module:
        return MockVisionModel(
            self.vision_dim, self.image_size, self.patch_size, int(self.metadata.get("num_layers", 6))
        )

    def _load_processor(self):
        if HAS_TRANSFORMERS and not isinstance(self.clip_model, MockVisionModel):
            try:
                return transformers.CLIPImageProcessor.from_pretrained(str(self.model_path), local_files_only=True)
            except Exception as e:
                logger.warning(f"no image processor: {e}")
        return None

    def _freeze_clip_parameters(self):
        for p in self.clip_model.parameters():
            p.requires_grad = False

    def _compute_region_summaries(self, patch_embeddings: torch.Tensor) -> torch.Tensor:
        batch, num_patches, dim = patch_embeddings.shape
        side = int(math.sqrt(num_patches))
        grid = patch_embeddings.transpose(1, 2).reshape(batch, dim, side, side)
        regions = self.region_pooler(grid).squeeze(-1).transpose(1, 2)
        return self.feature_norm(regions)

    def _compute_coverage_score(
        self, patch_embeddings: torch.Tensor, attention_weights: Optional[torch.Tensor] = None
    ) -> torch.Tensor:
        # the weights come out of a softmax already, a second one makes them uniform
        if attention_weights is None:
            attention_weights = torch.softmax(patch_embeddings.norm(dim=-1), dim=-1)
        entropy = -(attention_weights * torch.log(attention_weights + 1e-8)).sum(dim=-1)
        return entropy / math.log(attention_weights.shape[-1])

    def _compute_consistency_score(self, cls_embedding: torch.Tensor, region_summaries: torch.Tensor) -> torch.Tensor:
        return F.cosine_similarity(cls_embedding.unsqueeze(1), region_summaries, dim=-1).mean(dim=-1)

    def preprocess_images(self, images: List) -> torch.Tensor:
        if self.processor is not None and HAS_PIL and all(isinstance(i, Image.Image) for i in images):
            return self.processor(images=images, return_tensors="pt")["pixel_values"]
        pixels = []
        mean = torch.tensor(IMAGE_MEAN).view(3, 1, 1)
        std = torch.tensor(IMAGE_STD).view(3, 1, 1)
        for image in images:
            if isinstance(image, (str, Path)):
                if not HAS_PIL:
                    raise RuntimeError("reading images needs PIL")
                image = Image.open(image).convert("RGB")
            if torch.is_tensor(image):
                x = image.float()
            else:
                x = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255.0
            if x.shape[-2:] != (self.image_size, self.image_size):
                x = F.interpolate(
                    x.unsqueeze(0), size=(self.image_size, self.image_size), mode="bilinear", antialias=True
                ).squeeze(0)
            pixels.append((x - mean) / std)
        return torch.stack(pixels)

    def forward(self, pixel_values: torch.Tensor, return_attention: bool = False) -> VisionFeatures:
        with torch.no_grad():
            if isinstance(self.clip_model, MockVisionModel):
                tokens = self.clip_model(pixel_values)
            else:
                tokens = self.clip_model(pixel_values=pixel_values).last_hidden_state
        cls_embedding = self.feature_norm(tokens[:, 0])
        patch_embeddings = tokens[:, 1:]
        pool_embedding = self.feature_norm(patch_embeddings.mean(dim=1))
        region_summaries = self._compute_region_summaries(patch_embeddings)
        attention = torch.softmax(self.spatial_attention(patch_embeddings).squeeze(-1), dim=-1)
        coverage, consistency = None, None
        if self.enable_coverage_analysis:
            coverage = self._compute_coverage_score(patch_embeddings, attention)
            consistency = self._compute_consistency_score(cls_embedding, region_summaries)
        return VisionFeatures(
            cls_embedding=cls_embedding,
            pool_embedding=pool_embedding,
            patch_embeddings=patch_embeddings,
            region_summaries=region_summaries,
            spatial_attention=attention,
            coverage_score=coverage,
            consistency_score=consistency,
        )

    def get_patch_grid_size(self) -> Tuple[int, int]:
        side = self.image_size // self.patch_size
        return side, side

    def extract_features_batch(self, images: List, batch_size: int = 8) -> List[VisionFeatures]:
        features = []
        self.eval()
        for start in range(0, len(images), batch_size):
            pixel_values = self.preprocess_images(images[start : start + batch_size])
            device = next(self.parameters()).device
            with torch.no_grad():
                features.append(self(pixel_values.to(device)))
        return features


def create_vision_encoder(model_path: str = "models/vision", config: Optional[Dict[str, Any]] = None) -> VisionEncoder:
    config = dict(config or {})
    config.pop("model_path", None)
    return VisionEncoder(model_path=model_path, **config)
