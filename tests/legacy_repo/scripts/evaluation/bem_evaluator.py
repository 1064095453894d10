#!/usr/bin/env python3
"""Evaluate the interpolation experiment."""

import argparse

import torch

from bem.interpolation_bem import InterpolationBEM, StaticLoRA, analyze_interpolation_behavior
from bem.simple_bem import BEMController, analyze_code_distribution, compute_effective_rank


def load(hidden_size: int):
    from bem.interpolation_bem import create_interpolation_bem

    return create_interpolation_bem(torch.nn.Linear(hidden_size, hidden_size))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bem-model", default="outputs/validation_experiment/bem_model.pt")
    parser.add_argument("--experiment-dir", default="outputs/validation_experiment")
    parser.add_argument("--output-dir", default="outputs/evaluation_results")
    parser.add_argument("--num-samples", type=int, default=500)
    parser.add_argument("--no-visualizations", action="store_true")
    args = parser.parse_args()
    model: InterpolationBEM = load(16)
    x = torch.randn(args.num_samples, 16)
    codes = BEMController(16)(x)
    print(analyze_interpolation_behavior(model, x), analyze_code_distribution(codes), compute_effective_rank(codes))
    print(StaticLoRA)


if __name__ == "__main__":
    main()
