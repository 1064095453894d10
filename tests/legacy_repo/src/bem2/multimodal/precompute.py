"""Precompute vision features.

Usage:
    python bem2/multimodal/precompute.py --encoder models/vision --images data/vqa/images --out cache
"""

import argparse
from pathlib import Path
from typing import List

import torch

from .vision_encoder import VisionEncoder, create_vision_encoder
from .preprocessing import VisionPreprocessor, create_vision_preprocessor


def collect_vqa_images(image_dir: Path) -> List[Path]:
    return sorted(path for path in image_dir.rglob("*") if path.suffix in {".png", ".jpg", ".pt"})


def precompute_vision_features(
    vision_encoder: VisionEncoder, preprocessor: VisionPreprocessor, image_paths: List[Path], output_path: Path
) -> int:
    output_path.mkdir(parents=True, exist_ok=True)
    for path in image_paths:
        features = preprocessor.preprocess_image(torch.load(path, weights_only=True))
        torch.save(features.cls_embedding, output_path / f"{path.stem}.pt")
    return len(image_paths)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--encoder", required=True)
    parser.add_argument("--images", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--num-workers", type=int, default=4)
    parser.add_argument("--max-images", type=int, default=None)
    parser.add_argument("--cache-dir", default="cache/vision_features")
    parser.add_argument("--clear-cache", action="store_true")
    args = parser.parse_args()
    encoder = create_vision_encoder(args.encoder)
    paths = collect_vqa_images(Path(args.images))[: args.max_images]
    print(precompute_vision_features(encoder, create_vision_preprocessor(encoder), paths, Path(args.out)))


if __name__ == "__main__":
    main()
