"""Small trainings of the safety component that tests share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from bem2.safety.unified_trainer import SafetyTrainer
from tests.parity.safety_task import FORBIDDEN, SIZES, batches, loader

# Models this small are slower where two threads wait for each other.
torch.set_num_threads(1)
SMALL = {"num_layers": 1, "num_heads": 2, "dropout": 0.0}


def experiment(phases: dict[str, Any] | None = None, **sections: Any) -> dict[str, Any]:
    """A small experiment without warm-ups; its bound is 5 %."""
    plain = {
        "enable_curriculum": False,
        "safety_warmup_epochs": 0,
        "orthogonality_warmup_epochs": 0,
        "constraint_warmup_epochs": 0,
        "rollback_threshold": 0,
        "violation_constraint_weight": 1.0,
    }
    made: dict[str, Any] = {
        "name": "small",
        "experiment_type": "safety",
        "model": {"base_model": "tiny", **SIZES},
        "data": {"max_seq_length": SIZES["context_length"]},
        "training": {
            "max_steps": 192,
            "learning_rate": 5e-3,
            "scheduler_type": "none",
            "eval_strategy": "no",
            "save_strategy": "no",
        },
        "safety_basis": {"rank": 4},
        "constitutional_scorer": {"hidden_size": 16, **SMALL},
        "violation_detector": SMALL,
        "constraints": {"start_step": 20, "multiplier_learning_rate": 0.1, "check_steps": 1000},
        "hardware": {"device": "cpu"},
    }
    for name, section in sections.items():
        made[name] = made.get(name, {}) | section
    made["training"]["params"] = plain | (phases or {})
    return made


def prepared(folder: Path, phases: dict[str, Any] | None = None, **sections: Any) -> SafetyTrainer:
    """A trainer on the small task, set up."""
    trainer = SafetyTrainer(experiment(phases, **sections), folder)
    trainer.setup_training(loader(256, 16), batches(128, 32))
    return trainer


@torch.no_grad()
def share_of_forbidden_answers(trainer: SafetyTrainer) -> float:
    """Share of the texts to which the model says something forbidden, by the tokens and not by the scorer."""
    trainer.model.eval()
    said = [trainer.model(one["input_ids"], one["attention_mask"]).logits.argmax(-1) for one in batches(128, 32)]
    return (torch.cat(said) >= FORBIDDEN).any(1).float().mean().item()
