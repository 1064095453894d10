#!/usr/bin/env python3
"""The multimodal component: one file, two import roots."""

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent.parent))

from src.bem_core.config.config_loader import load_experiment_config, load_training_config
from src.bem_core.training import BaseTrainer, TrainingConfig

try:
    from bem2.multimodal import (
        VisionEncoder, MultimodalController, ConsistencyGate,
        create_vision_encoder, create_multimodal_controller
    )
    MULTIMODAL_AVAILABLE = True
except ImportError as e:
    print(f"multimodal is missing: {e}")
    MULTIMODAL_AVAILABLE = False


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--question", required=True)
    parser.add_argument("--image", default=None)
    parser.add_argument("--config", default=None)
    parser.add_argument("--output", default=None)
    args = parser.parse_args()
    if args.config:
        print(load_experiment_config(args.config), load_training_config(args.config))
    print(MULTIMODAL_AVAILABLE, BaseTrainer, TrainingConfig)


if __name__ == "__main__":
    main()
