"""Version 1.3 trainer: one model with any of the components.

Usage:
    python bem2/training/train.py --config experiments/v1_dynrank.yml --output-dir logs --experiment-name v1
"""

import argparse
import json
import logging
from pathlib import Path

import yaml
import torch

from bem2.perftrack.pt1_head_gating import HeadGroupGatingModule
from bem2.perftrack.pt2_dynamic_mask import DynamicRankMaskModule
from bem2.perftrack.pt3_kronecker import KroneckerFactorization
from bem2.perftrack.pt4_residual_film import ResidualFiLMController
from bem2.router.macro_policy import MacroPolicy
from bem2.online.online_learner import OnlineLearner
from bem2.multimodal.controller_integration import MultimodalController
from bem2.safety.safety_basis import OrthogonalSafetyBasis

logger = logging.getLogger(__name__)

COMPONENTS = {
    "head_gating": HeadGroupGatingModule,
    "dynamic_mask": DynamicRankMaskModule,
    "kronecker": KroneckerFactorization,
    "residual_film": ResidualFiLMController,
    "agentic_router": MacroPolicy,
    "online_learning": OnlineLearner,
    "multimodal": MultimodalController,
    "safety_basis": OrthogonalSafetyBasis,
}


class BEMTrainer:
    def __init__(self, config_path: Path, output_dir: Path, experiment_name: str):
        with open(config_path) as f:
            self.config = yaml.safe_load(f)
        self.output_dir = Path(output_dir) / experiment_name
        self.model = torch.nn.Linear(16, 16)
        self.components = [name for name in COMPONENTS if name in self.config]

    def train(self):
        optimizer = torch.optim.AdamW(self.model.parameters(), lr=float(self.config.get("learning_rate", 5e-5)))
        for step in range(int(self.config.get("max_steps", 10))):
            optimizer.zero_grad()
            loss = self.model(torch.randn(4, 16)).pow(2).mean()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            optimizer.step()
            logger.info("step %d loss %.4f", step, loss.item())
        self.output_dir.mkdir(parents=True, exist_ok=True)
        (self.output_dir / "training_state.json").write_text(json.dumps({"components": self.components}))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", required=True)
    parser.add_argument("--output-dir", required=True)
    parser.add_argument("--experiment-name", required=True)
    args = parser.parse_args()
    BEMTrainer(Path(args.config), Path(args.output_dir), args.experiment_name).train()


if __name__ == "__main__":
    main()
