#!/usr/bin/env python3
"""Train the multimodal controller from a YAML file."""

import argparse
import json
import logging
from pathlib import Path

import torch
import yaml

from bem2.multimodal import (
    create_vision_encoder,
    create_multimodal_controller,
    create_vision_preprocessor,
    create_multimodal_trainer,
    MultimodalTrainer,
    MultimodalTrainingConfig,
    ConsistencyGate,
)
from bem2.multimodal.evaluation import create_vqa_test_data

logger = logging.getLogger(__name__)


def load_rows(path, image_dir, limit=None):
    """A JSON array, or one JSON object a line."""
    with open(path) as f:
        text = f.read()
    if text.lstrip().startswith("["):
        rows = json.loads(text)
    else:
        rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    rows = rows[:limit]
    for row in rows:
        row["image"] = str(Path(image_dir) / row["image"])
    return rows


def load_data(config: dict, debug: bool):
    data = config.get("data", {})
    limit = 16 if debug else None
    if data.get("train_file"):
        folder = Path(data["train_file"]).parent
        image_dir = data.get("image_dir", folder / "images" if (folder / "images").is_dir() else folder)
        train = load_rows(data["train_file"], image_dir, limit)
        eval_file = data.get("eval_file", data.get("validation_file"))
        evaluation = load_rows(eval_file, image_dir, limit) if eval_file else None
        return train, evaluation
    rows = create_vqa_test_data(int(data.get("num_samples", 48)))
    cut = max(len(rows) * 3 // 4, 1)
    return rows[:cut], rows[cut:]


def build(config: dict, rows: list, output: str) -> MultimodalTrainer:
    model = config["model"]
    training = config.get("training", {})
    dim = int(model["vision_dim"])
    vision = dict(config.get("vision_encoder", {}))
    vision.setdefault("vision_dim", dim)
    torch.manual_seed(0)  # the weights of the encoder are in no checkpoint
    encoder = create_vision_encoder(vision.get("model_path", "models/vision"), vision)
    with open(Path(output) / "vision_encoder.json", "w") as f:
        json.dump(vision, f)
    controller_config = dict(config.get("controller", {}))
    controller_config.setdefault("answer_vocab", sorted({a for row in rows for a in row["answers"]}))
    controller = create_multimodal_controller(
        {"hidden_size": int(model["hidden_size"])},
        {"vision_dim": encoder.vision_dim, "patch_grid_size": encoder.get_patch_grid_size()},
        controller_config,
    )
    hidden = int(model["hidden_size"])
    gate = ConsistencyGate(hidden, hidden, encoder.num_regions, encoder.get_patch_grid_size())
    preprocessor = create_vision_preprocessor(encoder, {"cache_dir": str(Path(output) / "vision_cache")})
    return create_multimodal_trainer(controller, encoder, preprocessor, gate, training, output)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", required=True)
    parser.add_argument("--output", default=None)
    parser.add_argument("--resume", default=None)
    parser.add_argument("--debug", action="store_true")
    parser.add_argument("--dry-run", action="store_true")
    args = parser.parse_args()
    logging.basicConfig(level=logging.DEBUG if args.debug else logging.INFO)
    with open(args.config) as f:
        config = yaml.safe_load(f)
    if args.dry_run:
        print(MultimodalTrainingConfig())
        print(config.get("training"))
        return
    output = args.output or config.get("output_dir") or "outputs/multimodal_training"
    train, evaluation = load_data(config, args.debug)
    if args.debug:
        config.setdefault("training", {})["max_steps"] = min(int(config["training"].get("max_steps", 8)), 8)
    Path(output).mkdir(parents=True, exist_ok=True)
    trainer = build(config, train, output)
    trainer.train(train, evaluation, resume_from=args.resume)
    with open(Path(output) / "training_summary.json", "w") as f:
        json.dump(trainer.get_training_summary(), f, indent=2)
    with open(Path(output) / "answer_vocab.json", "w") as f:
        json.dump(trainer.model.answer_vocab, f)
    print(json.dumps(trainer.best_metrics))


if __name__ == "__main__":
    main()
