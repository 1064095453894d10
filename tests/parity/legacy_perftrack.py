"""Trains variants with the old trainer and records it: python legacy_perftrack.py FOLDER RUN ...

A run is a variant with settings, such as ``PT1`` or ``PT3:penalty=0.5:steps=40``, and is recorded in a folder of that
name; with ``bare=1`` it is not recorded. With ``from=FILE`` after the runs they go on from a checkpoint. It all happens
in a process of its own, with the root of the old repository, this folder and the root of the project on the path, in
this order: the old packages are ``src.bem2``, so that the base model can come from our ``bem_core``.
"""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import perftrack_task as task
import torch
from recording import recording
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


class ResumingTrainer(PTTrainer):
    """Goes on from a checkpoint; the old trainer cannot, so it goes through the steps before without doing anything."""

    def __init__(self, config: PTTrainingConfig, file: str) -> None:
        super().__init__(config)
        self.saved = torch.load(file, weights_only=False)
        self.first = self.saved["global_step"] + 1

    def _training_step(self, model: Any, train_loader: Any, variant_type: str) -> dict[str, float]:
        if self.global_step < self.first:
            return {}
        if self.global_step == self.first:
            self.take_over(model, variant_type)
        return super()._training_step(model, train_loader, variant_type)  # type: ignore[no-any-return]

    def _evaluation_step(self, *args: Any) -> dict[str, float]:
        return {} if self.global_step < self.first else super()._evaluation_step(*args)

    def _check_early_stopping(self, *args: Any) -> bool:
        return self.global_step >= self.first and super()._check_early_stopping(*args)

    def _save_checkpoint(self, *args: Any) -> None:
        if self.global_step >= self.first:
            super()._save_checkpoint(*args)

    def take_over(self, model: Any, variant: str) -> None:
        """Load what the checkpoint has."""
        model.load_state_dict(self.saved["model_state_dict"])
        self.optimizer.optimizers[variant].load_state_dict(self.saved["optimizer_state_dicts"][variant])
        self.optimizer.schedulers[variant].load_state_dict(self.saved["scheduler_state_dicts"][variant])
        self.best_metrics = self.saved["best_metrics"]


def train(
    folder: Path, variant: str, options: dict[str, Any], file: str | None = None
) -> tuple[PTTrainer, dict[str, Any]]:
    """Train one variant, perhaps from a checkpoint on; return the trainer and what it reported."""
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
    train_loader, eval_loader = task.legacy_loaders(joint=0 if file else task.JOINT)
    trainer = ResumingTrainer(config, file) if file else PTTrainer(config)
    with nullcontext() if options.get("bare") else recording(folder / "record.pt"):
        results = trainer.train_variant(model, train_loader, eval_loader, variant, folder)
    return trainer, results


def main() -> PTTrainer:
    """Train all; return the last trainer: what it holds at the end is seen while it is there."""
    torch.set_num_threads(1)
    folder, *runs = sys.argv[1:]
    file = runs.pop().removeprefix("from=") if runs[-1].startswith("from=") else None
    for run in runs:
        variant, *given = run.split(":")
        options = {name: float(value) for name, value in (one.split("=") for one in given)}
        place = Path(folder) / run
        place.mkdir(parents=True)
        trainer, results = train(place, variant, options, file)
        (place / "results.json").write_text(json.dumps(results, default=float))
    return trainer


if __name__ == "__main__":
    kept = main()
