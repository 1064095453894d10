"""Trains variants with the old trainer and records it: python legacy_perftrack.py FOLDER RUN ...

A run is a variant with settings, such as ``PT1`` or ``PT3:penalty=0.5:steps=40``, and is recorded in a folder of that
name; with ``bare=1`` it is neither recorded nor saved. It all happens in a process of its own, with the root of the old
repository, this folder and the root of the project on the path, in this order: the old packages are ``src.bem2``, so
that the base model can come from our ``bem_core``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import perftrack_task as task
import torch
from recording import recording, saving_nothing
from src.bem2.perftrack.evaluation import BudgetConstraints
from src.bem2.perftrack.lm_wrapper import PTLanguageModel
from src.bem2.perftrack.pt1_head_gating import HeadGroupGatingConfig
from src.bem2.perftrack.pt2_dynamic_mask import DynamicRankMaskConfig
from src.bem2.perftrack.pt3_kronecker import KroneckerConfig
from src.bem2.perftrack.pt4_residual_film import ResidualFiLMConfig
from src.bem2.perftrack.training import PTTrainer, PTTrainingConfig

from bem_core.models.tiny import TinyConfig, TinyDecoder

CONFIGS = {
    "PT1": HeadGroupGatingConfig,
    "PT2": DynamicRankMaskConfig,
    "PT3": KroneckerConfig,
    "PT4": ResidualFiLMConfig,
}


def train(folder: Path, variant: str, options: dict[str, Any]) -> tuple[PTTrainer, dict[str, Any]]:
    """Train one variant; return the trainer and what it reported."""
    task.seed_all(int(options.get("seed", 42)))
    base = TinyDecoder(TinyConfig(**task.SIZES))
    model = PTLanguageModel(base, variant, CONFIGS[variant](**task.SETTINGS[variant]), num_attention_heads=4)
    config = PTTrainingConfig(
        learning_rate=task.RATE,
        max_steps=int(options.get("steps", task.STEPS)),
        eval_steps=task.EVERY,
        save_steps=task.JOINT - 1,
        logging_steps=1000,
        gradient_clip_norm=task.CLIP[variant],
        spectral_penalty_weight=options.get("penalty", task.PENALTY[variant]),
        budget_constraints=BudgetConstraints(baseline_params=sum(p.numel() for p in model.parameters())),
    )
    train_loader, eval_loader = task.legacy_loaders()
    trainer = PTTrainer(config)
    with saving_nothing() if options.get("bare") else recording(folder / "record.pt"):
        results = trainer.train_variant(model, train_loader, eval_loader, variant, folder)
    return trainer, results


def main() -> PTTrainer:
    """Train all; return the last trainer: what it holds at the end is seen while it is there."""
    torch.set_num_threads(1)
    folder, *runs = sys.argv[1:]
    for run in runs:
        variant, *given = run.split(":")
        options = {name: float(value) for name, value in (one.split("=") for one in given)}
        place = Path(folder) / run
        place.mkdir(parents=True)
        trainer, results = train(place, variant, options)
        (place / "results.json").write_text(json.dumps(results, default=float))
    return trainer


if __name__ == "__main__":
    kept = main()
