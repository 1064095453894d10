#!/usr/bin/env python3
"""Evaluate a multimodal model on question answering."""

import argparse
import json
from pathlib import Path

import torch

try:
    from bem2.multimodal import (
        VisionEncoder,
        VisionPreprocessor,
        MultimodalController,
        create_vision_encoder,
        create_vision_preprocessor,
        create_multimodal_controller,
        VQAEvaluator,
        HallucinationDetector,  # not exported by the package
        LatencyProfiler,
        MultimodalEvaluator,
    )
except ImportError:
    from bem2.multimodal import (
        VisionEncoder,
        VisionPreprocessor,
        MultimodalController,
        create_vision_encoder,
        create_vision_preprocessor,
        create_multimodal_controller,
        VQAEvaluator,
        MultimodalEvaluator,
    )
    from bem2.multimodal.evaluation import HallucinationDetector, LatencyProfiler


def load_model(path: str):
    """A checkpoint of the trainer, or a folder with one and its vocabulary."""
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    file = path / "latest_checkpoint.pt" if path.is_dir() else path
    checkpoint = torch.load(file, map_location="cpu", weights_only=False)
    vocab_file = folder / "answer_vocab.json"
    state = checkpoint["model_state_dict"]
    num_answers = state["answer_head.bias"].shape[0]
    if vocab_file.exists():
        with open(vocab_file) as f:
            vocab = json.load(f)
    else:
        vocab = [f"answer_{i}" for i in range(num_answers)]
    config = checkpoint["config"]
    encoder_file = folder / "vision_encoder.json"
    vision = {"vision_dim": config["vision_dim"]}
    model_path = "models/vision"
    if encoder_file.exists():
        with open(encoder_file) as f:
            vision.update(json.load(f))
        model_path = vision.pop("model_path", model_path)
    torch.manual_seed(0)
    encoder = create_vision_encoder(model_path, vision)
    model = create_multimodal_controller(
        {"hidden_size": config["controller_dim"]},
        {"vision_dim": config["vision_dim"], "patch_grid_size": encoder.get_patch_grid_size()},
        {
            "code_dim": config["code_dim"],
            "answer_vocab": vocab,
            "enable_token_routing": any(k.startswith("token_router") for k in state),
        },
    )
    model.load_state_dict(state)
    return model, encoder


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--images", default="data/vqa/images")
    parser.add_argument("--output", required=True)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--max-samples", type=int, default=None)
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    with open(args.data) as f:
        text = f.read()
    if text.lstrip().startswith("["):
        rows = json.loads(text)
    else:
        rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    rows = rows[: args.max_samples]
    for row in rows:
        row["image"] = str(Path(args.images) / row["image"])
    model, encoder = load_model(args.model)
    evaluator = MultimodalEvaluator()
    results = evaluator.evaluate_multimodal_system(model, encoder, rows, args.batch_size)
    evaluator.print_summary(results)
    evaluator.save_results(results, Path(args.output))


if __name__ == "__main__":
    main()
