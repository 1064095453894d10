#!/usr/bin/env python3
"""Evaluate a version 1.1 model."""

import argparse
import os
import sys

sys.path.append(os.path.join(os.path.dirname(__file__), '.'))

from bem.models import create_bem_v11_model
from bem.evaluation import BEMv11Evaluator
from bem.training.cache_metrics import benchmark_bem_model


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--ckpt", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--mode", choices=["standard", "index_swap"], default="standard")
    parser.add_argument("--slice", choices=["A", "B", "both"], default="both")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--report", action="store_true")
    parser.parse_args()
    import torch

    x = torch.randn(4, 32)
    print(BEMv11Evaluator(create_bem_v11_model()).evaluate(x, x), benchmark_bem_model(torch.zeros(1, 5)))


if __name__ == "__main__":
    main()
