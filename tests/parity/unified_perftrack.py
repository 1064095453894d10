"""The training of `legacy_perftrack` by the unified trainer: python -m tests.parity.unified_perftrack FOLDER VARIANT.

Pairs such as ``max_grad_norm=0.5`` change options of the training; with ``resume=FILE`` it goes on from a checkpoint of
the old trainer.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from bem2.perftrack.data import TokenSequences
from bem2.perftrack.unified_trainer import PerformanceTrainer
from bem2.perftrack.variants import VARIANTS
from tests.parity import perftrack_task as task
from tests.parity.options import options_of


def experiment(variant: str, **training: Any) -> dict[str, Any]:
    """The settings of `legacy_perftrack.train`; the groups are those that the variant has."""
    rate = task.RATE * task.MULTIPLIERS[variant]
    return {
        "name": "parity",
        "experiment_type": "performance",
        "variant_id": variant,
        "compat": "legacy",
        "model": {"base_model": "tiny", **task.SIZES},
        "training": {
            "max_steps": task.STEPS,
            "learning_rate": rate,
            "lr_scheduler_kwargs": {"eta_min": rate * 0.01},
            "weight_decay": 1e-4,
            "max_grad_norm": task.CLIP[variant],
            "eval_steps": task.EVERY,
            "early_stopping_patience": 5,
            "save_strategy": "no",
            "loss_weights": {"spectral": task.PENALTY[variant]},
            **training,
        },
        "perftrack": {"pooling": "sequence"},
        VARIANTS[variant].sections[0]: task.SETTINGS[variant],
        "hardware": {"device": "cpu"},
    }


def collate(samples: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: torch.stack([one[name] for one in samples]) for name in samples[0]}


def prepared(folder: Path, config: dict[str, Any], joint: int = task.JOINT) -> PerformanceTrainer:
    trainer = PerformanceTrainer(config, folder)
    data = [TokenSequences(task.tokens(96, 0)), TokenSequences(task.tokens(32, 1))]
    trainer.setup_training(*task.loaders(*data, joint, collate_fn=collate))
    return trainer


def main(folder: Path, variant: str, *given: str) -> PerformanceTrainer:
    """Train, and return the trainer: what it holds at the end is recorded while it is there."""
    torch.set_num_threads(1)
    options = options_of(given)
    file = options.pop("resume", None)
    trainer = prepared(folder, experiment(variant, **options), joint=0 if file else task.JOINT)
    if file:
        trainer.resume_from(Path(file))
    trainer.train()
    return trainer


if __name__ == "__main__":
    kept = main(Path(sys.argv[1]), *sys.argv[2:])
