#!/usr/bin/env python3
"""Evaluate a multimodal model on question answering."""

import argparse
import json

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
        rows = [json.loads(line) for line in f][: args.max_samples]
    profiler, hallucination = LatencyProfiler(), HallucinationDetector()
    latency = profiler.profile(lambda rows: MultimodalEvaluator().vqa, rows)
    metrics = VQAEvaluator().evaluate_batch(
        [row.get("prediction", "") for row in rows], [row["answers"] for row in rows], [row["question"] for row in rows]
    )
    rate = hallucination.detect_object_hallucinations("a dog and a tree", ["dog"])
    with open(args.output, "w") as f:
        json.dump({**metrics._asdict(), **latency, "hallucination_rate": rate}, f)


if __name__ == "__main__":
    main()
