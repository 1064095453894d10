#!/usr/bin/env python3
"""Train the multimodal controller from a YAML file."""

import argparse

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


def build(config: dict) -> MultimodalTrainer:
    dim = config["model"]["vision_dim"]
    encoder = create_vision_encoder(config=config.get("vision_encoder", {"vision_dim": dim}))
    controller = create_multimodal_controller({"hidden_size": config["model"]["hidden_size"]}, {"vision_dim": dim})
    return create_multimodal_trainer(
        controller, encoder, create_vision_preprocessor(encoder), ConsistencyGate(dim), config["training"]
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", required=True)
    parser.add_argument("--output", default=None)
    parser.add_argument("--resume", default=None)
    parser.add_argument("--debug", action="store_true")
    parser.add_argument("--dry-run", action="store_true")
    args = parser.parse_args()
    with open(args.config) as f:
        trainer = build(yaml.safe_load(f))
    if args.dry_run:
        print(MultimodalTrainingConfig())
        return
    trainer.train([{"image": torch.rand(3, 224, 224)} for _ in range(8)], resume_from=args.resume)


if __name__ == "__main__":
    main()
