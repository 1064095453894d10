"""The training of `legacy_safety` by the unified trainer: python -m tests.parity.unified_safety FOLDER BASE [OLD].

BASE are the weights that it begins with, OLD is a checkpoint of the old pipeline to go on from, or empty. Pairs such as
``weight_decay=0.1`` change options of the training.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from bem2.safety.unified_trainer import SafetyTrainer
from bem_core.utils.seeding import seed_everything
from tests.parity.options import options_of
from tests.parity.safety_task import SIZES, batches, loader

EPOCHS = 7


def experiment(**training: Any) -> dict[str, Any]:
    """The settings of `legacy_safety.pipeline`."""
    phases = {
        "safety_warmup_epochs": 1,
        "orthogonality_warmup_epochs": 2,
        "stage_warmup_steps": 30,
        "performance_check_frequency": 8,
        "rollback_threshold": 1,
    }
    small = {"num_layers": 1, "num_heads": 2}
    return {
        "name": "parity",
        "experiment_type": "safety",
        "compat": "legacy",
        "model": {"base_model": "tiny", **SIZES},
        "data": {"max_seq_length": SIZES["context_length"]},
        "training": {
            "max_epochs": EPOCHS,
            "learning_rate": 3e-3,
            "weight_decay": 0.01,
            "params": phases,
            **training,
        },
        "safety_basis": {"rank": 3},
        "constitutional_scorer": {"hidden_size": 16, **small},
        "violation_detector": small,
        "constraints": {"start_step": 20, "multiplier_learning_rate": 0.1, "check_steps": 10},
        "hardware": {"device": "cpu"},
    }


def prepared(folder: Path, base: Path, **training: Any) -> SafetyTrainer:
    trainer = SafetyTrainer(experiment(**training), folder)
    trainer.setup_training(loader(), batches())
    trainer.model.base.load_state_dict(torch.load(base, weights_only=True))
    return trainer


def main(folder: Path, base: Path, old: str = "", *given: str) -> SafetyTrainer:
    """Train, and return the trainer: what it holds at the end is recorded while it is there."""
    torch.set_num_threads(1)
    trainer = prepared(folder, base, **options_of(given))
    if old:
        trainer.resume_from(old)
        seed_everything(42)
    trainer.train()
    return trainer


if __name__ == "__main__":
    kept = main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
