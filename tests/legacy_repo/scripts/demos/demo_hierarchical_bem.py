#!/usr/bin/env python3
"""Phase 2 demo: three levels of routing."""

import argparse
import sys
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).parent.parent))

from bem.controller import (
    HierarchicalController,
    RoutingLevel,
    create_hierarchical_controller,
    analyze_routing_behavior,
    compute_routing_stability,
)
from bem.hierarchical_bem import (  # the two factories
    HierarchicalBEMConfig,
    FullHierarchicalBEM,
    create_hierarchical_bem,
    create_hierarchical_bem_for_validation,
)
from bem.hierarchical_training import HierarchicalTrainer
from bem.telemetry import TelemetryCollector


def run(controller: HierarchicalController, collector: TelemetryCollector) -> None:
    hidden = torch.randn(2, 128, 32)
    for level in RoutingLevel:
        collector.record(level.value, float(controller(hidden, routing_level=level).norm()))
    print(analyze_routing_behavior(controller, hidden), compute_routing_stability(controller, [hidden, hidden]))


def train(steps: int) -> list:
    trainer = HierarchicalTrainer(create_hierarchical_bem_for_validation())
    x = torch.randn(2, 32, 32)
    return [trainer.train_step(x, x.roll(1, -1)) for _ in range(steps)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--mode", choices=["demo", "benchmark", "train", "compatibility"], default="demo")
    parser.add_argument("--model", default="TinyLlama/TinyLlama-1.1B-Chat-v1.0")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--wandb", action="store_true")
    args = parser.parse_args()
    if args.mode == "train":
        print(train(5))
    run(create_hierarchical_controller({"hidden_size": 32}), TelemetryCollector())
    print(FullHierarchicalBEM is type(create_hierarchical_bem(torch.nn.Linear(8, 8), HierarchicalBEMConfig(rank=2))))


if __name__ == "__main__":
    main()
