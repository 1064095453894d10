"""Trains the safety pipeline of the old repository and records it: python legacy_safety.py FOLDER [key=value ...].

It runs in a process of its own, with the root of the old repository, this folder and the root of the project on the
path, in this order: the old packages are ``src.bem2``, so that the base model can come from our ``bem_core``.
With ``bare=1`` it is not recorded.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recording import recording
from safety_task import SIZES, batches, loader
from src.bem2.safety.constitutional_scorer import ValueModelConfig
from src.bem2.safety.lagrangian_optimizer import ConstraintConfig
from src.bem2.safety.safety_basis import SafetyBasisConfig
from src.bem2.safety.safety_controller import ControlConfig
from src.bem2.safety.training import SafetyTrainingConfig, SafetyTrainingPipeline
from src.bem2.safety.violation_detector import ViolationConfig

from bem_core.models.tiny import TinyConfig, TinyDecoder


def seed_all(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def pipeline(folder: Path, options: dict[str, Any]) -> SafetyTrainingPipeline:
    """Build everything in the order in which the random numbers are drawn."""
    hidden, vocabulary = SIZES["hidden_size"], SIZES["vocab_size"]
    small = {"num_layers": 1, "num_heads": 2, "vocab_size": vocabulary, "max_seq_length": SIZES["context_length"]}
    return SafetyTrainingPipeline(
        TinyDecoder(TinyConfig(**SIZES)),
        SafetyTrainingConfig(
            num_epochs=options["epochs"],
            learning_rate=options["learning_rate"],
            weight_decay=0.01,
            safety_warmup_epochs=1,
            orthogonality_warmup_epochs=2,
            stage_warmup_steps=30,
            performance_check_frequency=8,
            rollback_threshold=1,
            checkpoint_dir=str(folder / "checkpoints"),
            use_wandb=False,
        ),
        SafetyBasisConfig(hidden_dim=hidden, safety_rank=3, num_layers=SIZES["num_layers"]),
        ValueModelConfig(hidden_dim=16, **small),
        ConstraintConfig(warmup_steps=20, lambda_lr=0.1, constraint_check_frequency=10),
        ControlConfig(hidden_dim=hidden),
        ViolationConfig(hidden_dim=hidden, **small),
    )


def train(made: SafetyTrainingPipeline, first: int) -> dict[str, Any]:
    """Train; from a later epoch on, with the methods that ``train`` calls, since the old pipeline cannot resume."""
    if not first:
        return made.train(loader(), batches())  # type: ignore[no-any-return]
    for epoch in range(first, made.config.num_epochs):
        made.current_epoch = epoch
        made._setup_epoch_training()
        metrics = made._train_epoch(loader())
        metrics.update(made._validate_epoch(batches(), None))
        made._progress_curriculum()
        made._save_epoch_checkpoint(metrics)
    return made._finalize_training()  # type: ignore[no-any-return]


def take_over(made: SafetyTrainingPipeline, path: Path) -> None:
    """Load what an epoch checkpoint has; the optimizer and the multiplier are not in it."""
    saved = torch.load(path, weights_only=False)
    made.model.load_state_dict(saved["model_state_dict"])
    made.safety_basis.load_state_dict(saved["safety_basis_state_dict"])
    made.constitutional_scorer.load_state_dict(saved["constitutional_scorer_state_dict"])
    made.safety_controller.load_state_dict(saved["safety_controller_state_dict"])
    made.violation_detector.load_state_dict(saved["violation_detector_state_dict"])
    made.current_step = saved["step"]
    made.lagrangian_optimizer.step_count = made.lagrangian_optimizer.last_constraint_check = saved["step"]
    made._progress_curriculum()


def main(folder: Path, options: dict[str, Any]) -> SafetyTrainingPipeline:
    """Train; return the pipeline: what it holds at the end is seen while it is there."""
    torch.set_num_threads(1)
    seed_all(options["seed"])
    made = pipeline(folder, options)
    made.model.load_state_dict(torch.load(options["base"], weights_only=True))
    first = 0
    if options["resume"]:
        take_over(made, Path(options["resume"]))
        first = options["first_epoch"]
        seed_all(options["seed"])
    if options["bare"]:
        train(made, first)
        return made
    with recording(folder / "record.pt"):
        results = train(made, first)
    results["num_rollbacks"] = made.num_rollbacks
    results["lambda"] = made.lagrangian_optimizer.lambda_param.item()
    checkpoint = torch.load(folder / f"checkpoints/epoch_{options['epochs'] - 1}.pt", weights_only=False)
    results["metrics"] = {key: value for key, value in checkpoint["metrics"].items() if key.startswith("val_")}
    (folder / "results.json").write_text(json.dumps(results))
    return made


if __name__ == "__main__":
    given = {"epochs": 7, "learning_rate": 3e-3, "seed": 42, "base": "", "resume": "", "first_epoch": 0, "bare": 0}
    for pair in sys.argv[2:]:
        name, _, value = pair.partition("=")
        given[name] = type(given[name])(value)
    kept = main(Path(sys.argv[1]), given)
