#!/usr/bin/env python3
"""Does interpolation beat a static delta?"""

import argparse
import sys
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).parent.parent))
from bem.interpolation_bem import InterpolationBEM, StaticLoRA, create_interpolation_bem
from bem.simple_bem import BEMController, analyze_code_distribution, compute_effective_rank


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--output-dir", default="outputs/validation_experiment")
    parser.add_argument("--no-wandb", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.parse_args()
    model: InterpolationBEM = create_interpolation_bem(torch.nn.Linear(8, 8))
    codes = BEMController(8)(torch.randn(4, 8))
    print(model.lora.__class__ is StaticLoRA, analyze_code_distribution(codes), compute_effective_rank(codes))


if __name__ == "__main__":
    main()
