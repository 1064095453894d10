#!/usr/bin/env python3
"""Train the fast variants of version 1.3."""

import argparse

from bem.bem_v13_fast5 import BEMv13Config, BEMv13Factory, load_bem_v13_from_config, validate_bem_v13_budget
from bem.training.bem_v11_trainer import BEMTrainer
from bem.evaluation.bem_evaluator import BEMEvaluator


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--exp", required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4, 5])
    parser.add_argument("--log-dir", required=True)
    parser.add_argument("--validate-budget", action="store_true")
    args = parser.parse_args()
    config: BEMv13Config = load_bem_v13_from_config({"variant": args.exp})
    print(validate_bem_v13_budget(50000, config), BEMv13Factory, BEMTrainer, BEMEvaluator)


if __name__ == "__main__":
    main()
