#!/usr/bin/env python3
"""Answer a question about an image."""

import argparse
import json
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
from bem2.multimodal.training import encode_text


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--question", required=True)
    parser.add_argument("--image", default=None)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", default=None)
    args = parser.parse_args()
    device = args.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    encoder: VisionEncoder = create_vision_encoder(config={"vision_dim": 32})
    preprocessor: VisionPreprocessor = create_vision_preprocessor(encoder, {"enable_caching": False})
    controller: MultimodalController = create_multimodal_controller(
        {"hidden_size": 32}, {"vision_dim": 32, "patch_grid_size": encoder.get_patch_grid_size()}
    )
    controller.eval()
    image = args.image if args.image else torch.rand(3, 224, 224)
    features = preprocessor.preprocess_image(image).features
    hidden, mask = encode_text([args.question], 32)
    with torch.no_grad():
        codes, state = controller(
            hidden, mask, vision_features=features, routing_level=controller.finest_level, return_routing_state=True
        )
        answer = controller.answer_vocab[int(controller.answer_logits(codes, mask).argmax())]
        code = controller(hidden, mask, vision_features=features)
        gate = ConsistencyGate(32, 32, encoder.num_regions, encoder.get_patch_grid_size()).eval()
        _, analysis = gate(state.vision_features, controller._summarize(hidden, mask), return_analysis=True)
    result = {
        "question": args.question,
        "answer": answer,
        "device": device,
        "code": code[0].tolist(),
        "coverage": analysis.coverage_score,
        "consistency": analysis.consistency_score,
        "action": analysis.recommended_action,
        "failure_modes": analysis.failure_modes,
    }
    print(json.dumps(result, indent=2))
    if args.output:
        with open(args.output, "w") as f:
            json.dump(result, f, indent=2)


if __name__ == "__main__":
    main()
