"""Compute vision features once, keep them, and line them up with chunks of text."""

import hashlib
import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
import torch

from .vision_encoder import VisionEncoder, VisionFeatures

try:
    from PIL import Image  # noqa: F401

    HAS_PIL = True
except ImportError:
    HAS_PIL = False

logger = logging.getLogger(__name__)


@dataclass
class CachedVisionFeatures:
    features: VisionFeatures
    image_hash: str
    timestamp: float
    patch_grid_size: Tuple[int, int]
    chunk_summaries: Optional[Dict[int, torch.Tensor]] = None
    preprocessing_time_ms: float = 0.0


class ImageHasher:
    @staticmethod
    def hash_image(image) -> str:
        if isinstance(image, (str, Path)):
            return hashlib.sha256(Path(image).read_bytes()).hexdigest()
        if torch.is_tensor(image):
            data = image.detach().cpu().contiguous().numpy()
        else:
            data = np.ascontiguousarray(np.array(image))
        return hashlib.sha256(str(data.shape).encode() + data.tobytes()).hexdigest()

    @staticmethod
    def hash_batch(images: List) -> List[str]:
        return [ImageHasher.hash_image(image) for image in images]


class VisionCache:
    """Memory first (least recently used goes first), then disk."""

    def __init__(
        self,
        cache_dir: str = "cache/vision_features",
        max_memory_items: int = 1000,
        max_disk_items: int = 10000,
        cache_ttl_hours: int = 24,
    ):
        self.cache_dir = Path(cache_dir)
        self.max_memory_items = max_memory_items
        self.max_disk_items = max_disk_items
        self.cache_ttl_seconds = cache_ttl_hours * 3600
        self.memory: Dict[str, CachedVisionFeatures] = {}
        self.order: List[str] = []
        self.cache_stats = {"memory_hits": 0, "disk_hits": 0, "misses": 0, "evictions": 0}
        self.cache_dir.mkdir(parents=True, exist_ok=True)
        self._load_cache_index()
        self._cleanup_expired()

    def _load_cache_index(self):
        path = self.cache_dir / "index.json"
        self.index: Dict[str, float] = {}
        if path.exists():
            with open(path) as f:
                self.index = json.load(f)

    def _save_cache_index(self):
        with open(self.cache_dir / "index.json", "w") as f:
            json.dump(self.index, f)

    def _cleanup_expired(self):
        now = time.time()
        for key in [k for k, t in self.index.items() if now - t > self.cache_ttl_seconds]:
            self._remove_disk_entry(key)

    def _remove_disk_entry(self, key: str):
        self.index.pop(key, None)
        path = self.cache_dir / f"{key}.pt"
        if path.exists():
            path.unlink()

    def _evict_memory_lru(self):
        while len(self.memory) > self.max_memory_items:
            self.memory.pop(self.order.pop(0), None)
            self.cache_stats["evictions"] += 1

    def _update_access_order(self, key: str):
        if key in self.order:
            self.order.remove(key)
        self.order.append(key)

    def get(self, image_hash: str) -> Optional[CachedVisionFeatures]:
        if image_hash in self.memory:
            self.cache_stats["memory_hits"] += 1
            self._update_access_order(image_hash)
            return self.memory[image_hash]
        if image_hash in self.index:
            path = self.cache_dir / f"{image_hash}.pt"
            try:
                cached = torch.load(path, weights_only=False)
                self.memory[image_hash] = cached
                self._update_access_order(image_hash)
                self._evict_memory_lru()
                self.cache_stats["disk_hits"] += 1
                return cached
            except Exception as e:
                logger.warning(f"cache entry {image_hash} is unreadable: {e}")
                self._remove_disk_entry(image_hash)
        self.cache_stats["misses"] += 1
        return None

    def put(self, image_hash: str, features: CachedVisionFeatures):
        self.memory[image_hash] = features
        self._update_access_order(image_hash)
        self._evict_memory_lru()
        if len(self.index) < self.max_disk_items:
            torch.save(features, self.cache_dir / f"{image_hash}.pt")
            self.index[image_hash] = time.time()
            self._save_cache_index()

    def get_stats(self) -> Dict[str, Any]:
        total = sum(self.cache_stats[k] for k in ("memory_hits", "disk_hits", "misses"))
        hits = self.cache_stats["memory_hits"] + self.cache_stats["disk_hits"]
        return {
            **self.cache_stats,
            "hit_rate": hits / total if total else 0.0,
            "memory_items": len(self.memory),
            "disk_items": len(self.index),
        }

    def clear(self):
        self.memory.clear()
        self.order.clear()
        for key in list(self.index):
            self._remove_disk_entry(key)
        self._save_cache_index()


class ChunkAlignedProcessor:
    def __init__(
        self,
        chunk_size: int = 32,
        patch_grid_size: Tuple[int, int] = (14, 14),
        summary_method: str = "attention_weighted",
    ):
        self.chunk_size = chunk_size
        self.patch_grid_size = tuple(patch_grid_size)
        self.summary_method = summary_method

    def align_patches_to_chunks(
        self, vision_features: VisionFeatures, text_length: int, num_chunks: Optional[int] = None
    ) -> Dict[int, torch.Tensor]:
        if num_chunks is None:
            num_chunks = max(1, -(-text_length // self.chunk_size))
        patches = vision_features.patch_embeddings
        aligned = {}
        for chunk in range(num_chunks):
            progress = chunk / max(num_chunks - 1, 1)
            if self.summary_method == "attention_weighted":
                weights = self._compute_chunk_attention(patches, progress)
                aligned[chunk] = torch.bmm(weights.unsqueeze(1), patches).squeeze(1)
            else:
                aligned[chunk] = patches.mean(dim=1)
        return aligned

    def _compute_chunk_attention(self, patch_embeddings: torch.Tensor, chunk_progress: float) -> torch.Tensor:
        positions = self._get_spatial_positions()
        place = 0.7 * positions[:, 0] + 0.3 * positions[:, 1]
        if place.shape[0] != patch_embeddings.shape[1]:
            side = int(patch_embeddings.shape[1] ** 0.5)
            line = torch.arange(side).float() / max(side - 1, 1)
            place = (0.7 * line.unsqueeze(1) + 0.3 * line.unsqueeze(0)).flatten()
        weights = torch.softmax(-3.0 * torch.abs(place - chunk_progress), dim=0)
        return weights.to(patch_embeddings.device).expand(patch_embeddings.shape[0], -1)

    def _get_spatial_positions(self) -> torch.Tensor:
        rows, cols = self.patch_grid_size
        y = (torch.arange(rows).float() / max(rows - 1, 1)).repeat_interleave(cols)
        x = (torch.arange(cols).float() / max(cols - 1, 1)).repeat(rows)
        return torch.stack([y, x], dim=1)

    def create_chunk_summaries(self, vision_features: VisionFeatures, text_length: int) -> Dict[int, torch.Tensor]:
        return self.align_patches_to_chunks(vision_features, text_length)


class VisionPreprocessor:
    def __init__(
        self,
        vision_encoder: VisionEncoder,
        cache_dir: str = "cache/vision_features",
        enable_caching: bool = True,
        cache_config: Optional[Dict[str, Any]] = None,
        chunk_config: Optional[Dict[str, Any]] = None,
    ):
        self.vision_encoder = vision_encoder
        self.enable_caching = enable_caching
        self.cache = VisionCache(cache_dir, **(cache_config or {})) if enable_caching else None
        chunk_config = dict(chunk_config or {})
        chunk_config.setdefault("patch_grid_size", vision_encoder.get_patch_grid_size())
        self.chunk_processor = ChunkAlignedProcessor(**chunk_config)
        self.hasher = ImageHasher()
        self.preprocessing_stats = {"images": 0, "cache_hits": 0, "total_ms": 0.0}

    def preprocess_image(
        self, image, text_length: Optional[int] = None, force_recompute: bool = False
    ) -> CachedVisionFeatures:
        lengths = None if text_length is None else [text_length]
        return self.preprocess_batch([image], lengths, 1, force_recompute)[0]

    def preprocess_batch(
        self,
        images: List,
        text_lengths: Optional[List[int]] = None,
        batch_size: int = 8,
        force_recompute: bool = False,
    ) -> List[CachedVisionFeatures]:
        results: List[Optional[CachedVisionFeatures]] = [None] * len(images)
        hashes = self.hasher.hash_batch(images)
        missing = []
        for i, image_hash in enumerate(hashes):
            cached = None
            if self.cache is not None and not force_recompute:
                cached = self.cache.get(image_hash)
            if cached is not None:
                results[i] = cached
                self.preprocessing_stats["cache_hits"] += 1
            else:
                missing.append(i)
        self.vision_encoder.eval()
        for start in range(0, len(missing), batch_size):
            part = missing[start : start + batch_size]
            began = time.perf_counter()
            pixels = self.vision_encoder.preprocess_images([images[i] for i in part])
            with torch.no_grad():
                features = self.vision_encoder(pixels.to(next(self.vision_encoder.parameters()).device))
            ms = 1000 * (time.perf_counter() - began) / len(part)
            for j, i in enumerate(part):
                one = VisionFeatures(
                    **{k: None if v is None else v[j : j + 1].clone() for k, v in features.__dict__.items()}
                )
                summaries = None
                if text_lengths is not None:
                    summaries = self.chunk_processor.create_chunk_summaries(one, text_lengths[i])
                cached = CachedVisionFeatures(
                    one, hashes[i], time.time(), self.vision_encoder.get_patch_grid_size(), summaries, ms
                )
                results[i] = cached
                if self.cache is not None:
                    self.cache.put(hashes[i], cached)
                self.preprocessing_stats["total_ms"] += ms
        self.preprocessing_stats["images"] += len(images)
        return results

    def get_chunk_features(self, image_hash: str, chunk_id: int) -> Optional[torch.Tensor]:
        cached = self.cache.get(image_hash) if self.cache is not None else None
        if cached is None or cached.chunk_summaries is None:
            return None
        return cached.chunk_summaries.get(chunk_id)

    def get_preprocessing_stats(self) -> Dict[str, Any]:
        stats = dict(self.preprocessing_stats)
        if self.cache is not None:
            stats["cache"] = self.cache.get_stats()
        return stats

    def clear_cache(self):
        if self.cache is not None:
            self.cache.clear()


def create_vision_preprocessor(
    vision_encoder: VisionEncoder, config: Optional[Dict[str, Any]] = None
) -> VisionPreprocessor:
    return VisionPreprocessor(vision_encoder, **(config or {}))
