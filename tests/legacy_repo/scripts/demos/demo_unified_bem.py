#!/usr/bin/env python3
"""All components through the shared infrastructure."""

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent.parent))

from src.bem_core.config.config_loader import load_experiment_config, load_training_config
from src.bem_core.training import BaseTrainer, TrainingConfig


class CountingTrainer(BaseTrainer):
    def _setup_model(self):
        import torch

        return torch.nn.Linear(2, 2)

    def _compute_loss(self, batch, outputs):
        return {"loss": outputs.sum()}

    def _evaluate(self, dataloader):
        return {"eval_loss": 0.0}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--components", nargs="+", default=["all"],
                        choices=["router", "safety", "multimodal", "performance", "all"])
    parser.add_argument("--output", default="unified_system_results")
    args = parser.parse_args()
    trainer = CountingTrainer(TrainingConfig(max_steps=1), args.output, "unified_demo")
    print(trainer.experiment_name, load_experiment_config.__name__, load_training_config.__name__)
    sys.path.append(str(Path(__file__).parent))


if __name__ == "__main__":
    main()
