#!/usr/bin/env python3
"""Answer a question about an image."""

import argparse
import sys
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).parent))

from bem2.multimodal import (
    VisionEncoder,
    MultimodalController,
    ConsistencyGate,
    VisionPreprocessor,
    create_vision_encoder,
    create_multimodal_controller,
    create_vision_preprocessor,
)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--question", required=True)
    parser.add_argument("--image", default=None)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", default=None)
    parser.parse_args()
    encoder: VisionEncoder = create_vision_encoder(config={"vision_dim": 32})
    preprocessor: VisionPreprocessor = create_vision_preprocessor(encoder)
    controller: MultimodalController = create_multimodal_controller({"hidden_size": 32}, {"vision_dim": 32})
    features = preprocessor.preprocess_image(torch.rand(3, 224, 224))
    code = controller(torch.randn(1, 64, 32), vision_features=features)
    _, analysis = ConsistencyGate(32)(features, torch.randn(1, 32))
    print(tuple(code.shape), analysis)


if __name__ == "__main__":
    main()
