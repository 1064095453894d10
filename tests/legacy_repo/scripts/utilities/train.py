#!/usr/bin/env python3
"""Train a version 1.1 model."""

import argparse
import os
import sys

sys.path.append(os.path.dirname(os.path.abspath(__file__)))

import torch

from bem.models import create_bem_v11_model
from bem.training import BEMv11Trainer, BEMv11TrainingConfig
from bem.training.cache_metrics import benchmark_bem_model


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--exp", required=True)
    parser.add_argument("--seeds", default="1,2,3,4,5")
    parser.add_argument("--log_dir", required=True)
    parser.add_argument("--cache_safe", choices=["on", "off"], default="on")
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args()
    for seed in map(int, args.seeds.split(",")):
        torch.manual_seed(seed)
        model = create_bem_v11_model(16)
        x = torch.randn(4, 16)
        print(seed, BEMv11Trainer(model, BEMv11TrainingConfig(num_steps=3)).train(x, x.roll(1, -1)))
    print(benchmark_bem_model(torch.randint(0, 3, (2, 10))))


if __name__ == "__main__":
    main()
