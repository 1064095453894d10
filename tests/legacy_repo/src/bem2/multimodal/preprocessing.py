"""Compute features once and keep them."""

import hashlib
import logging
from dataclasses import dataclass
from typing import Any, Dict, List, Optional

import torch

from .vision_encoder import VisionEncoder, VisionFeatures

logger = logging.getLogger(__name__)


@dataclass
class CachedVisionFeatures:
    features: VisionFeatures
    image_hash: str


class ImageHasher:
    @staticmethod
    def hash_image(image) -> str:
        return hashlib.sha256(torch.as_tensor(image).contiguous().flatten().numpy(force=True).tobytes()).hexdigest()


class VisionCache:
    def __init__(self, max_memory_items: int = 1000):
        self.max_memory_items = max_memory_items
        self.items: Dict[str, CachedVisionFeatures] = {}

    def get(self, image_hash: str) -> Optional[CachedVisionFeatures]:
        return self.items.get(image_hash)

    def put(self, image_hash: str, features: CachedVisionFeatures) -> None:
        if len(self.items) >= self.max_memory_items:
            self.items.pop(next(iter(self.items)))
        self.items[image_hash] = features


class VisionPreprocessor:
    def __init__(self, vision_encoder: VisionEncoder, enable_caching: bool = True):
        self.vision_encoder, self.cache = vision_encoder, VisionCache() if enable_caching else None

    def preprocess_image(self, image, text_length: Optional[int] = None) -> VisionFeatures:
        with torch.no_grad():
            return self.vision_encoder(self.vision_encoder.preprocess_images([image]))

    def preprocess_batch(self, images: List) -> List[VisionFeatures]:
        return [self.preprocess_image(image) for image in images]


def create_vision_preprocessor(
    vision_encoder: VisionEncoder, config: Optional[Dict[str, Any]] = None
) -> VisionPreprocessor:
    return VisionPreprocessor(vision_encoder, **(config or {}))
