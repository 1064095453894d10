"""Precompute vision features.

Usage:
    python bem2/multimodal/precompute.py --encoder models/vision --images data/vqa/images --out cache
"""

import argparse
import json
import logging
import time
from pathlib import Path
from typing import Any, Dict, List

import torch
from torch.utils.data import DataLoader, Dataset

from .vision_encoder import VisionEncoder, create_vision_encoder
from .preprocessing import VisionPreprocessor, create_vision_preprocessor

logger = logging.getLogger(__name__)


class ImageDataset(Dataset):
    def __init__(self, image_paths: List[Path], text_lengths: List[int] = None):
        self.image_paths = image_paths
        self.text_lengths = text_lengths or [128] * len(image_paths)

    def __len__(self):
        return len(self.image_paths)

    def __getitem__(self, idx):
        path = self.image_paths[idx]
        if path.suffix == ".pt":
            image = torch.load(path, weights_only=True)
        else:
            image = str(path)
        return {"image": image, "path": str(path), "text_length": self.text_lengths[idx]}


def collect_vqa_images(image_dir: Path) -> List[Path]:
    suffixes = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".pt"}
    return sorted(path for path in Path(image_dir).rglob("*") if path.suffix.lower() in suffixes)


def precompute_vision_features(
    vision_encoder: VisionEncoder,
    preprocessor: VisionPreprocessor,
    image_paths: List[Path],
    output_path: Path,
    batch_size: int = 8,
    num_workers: int = 4,
    max_images: int = None,
) -> Dict[str, Any]:
    if max_images is not None:
        image_paths = image_paths[:max_images]
    output_path = Path(output_path)
    output_path.mkdir(parents=True, exist_ok=True)
    loader = DataLoader(
        ImageDataset(image_paths), batch_size=batch_size, num_workers=num_workers, collate_fn=lambda rows: rows
    )
    start = time.time()
    done, index = 0, {}
    for rows in loader:
        cached = preprocessor.preprocess_batch(
            [r["image"] for r in rows], [r["text_length"] for r in rows], batch_size=batch_size
        )
        for row, one in zip(rows, cached):
            name = f"{one.image_hash[:16]}.pt"
            torch.save(
                {k: v for k, v in one.features.__dict__.items() if v is not None}, output_path / name
            )
            index[row["path"]] = name
            done += 1
    stats = {
        "num_images": done,
        "seconds": time.time() - start,
        "vision_dim": vision_encoder.vision_dim,
        **preprocessor.get_preprocessing_stats(),
    }
    with open(output_path / "index.json", "w") as f:
        json.dump({"files": index, "stats": stats}, f, indent=2)
    return stats


def main():
    logging.basicConfig(level=logging.INFO)
    parser = argparse.ArgumentParser(description="Precompute vision features")
    parser.add_argument("--encoder", required=True)
    parser.add_argument("--images", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--num-workers", type=int, default=4)
    parser.add_argument("--max-images", type=int, default=None)
    parser.add_argument("--cache-dir", default="cache/vision_features")
    parser.add_argument("--clear-cache", action="store_true")
    args = parser.parse_args()

    metadata = Path(args.encoder) / "metadata.json"
    config = {}
    if metadata.exists():
        with open(metadata) as f:
            values = json.load(f)
        config = {k: values[k] for k in ("vision_dim", "num_regions") if k in values}
    encoder = create_vision_encoder(args.encoder, config)
    preprocessor = create_vision_preprocessor(encoder, {"cache_dir": args.cache_dir})
    if args.clear_cache:
        preprocessor.clear_cache()
    paths = collect_vqa_images(Path(args.images))
    if not paths:
        raise SystemExit(f"no images in {args.images}")
    stats = precompute_vision_features(
        encoder, preprocessor, paths, Path(args.out), args.batch_size, args.num_workers, args.max_images
    )
    print(json.dumps(stats, indent=2))


if __name__ == "__main__":
    main()
