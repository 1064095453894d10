"""The training of `legacy_multimodal` by the unified trainer: python -m tests.parity.unified_multimodal JOB.

JOB is ``prepare FOLDER``, which writes questions, images and settings for both sides; ``train FOLDER RUN``; or
``resume FOLDER RUN FILE``, which goes on from a checkpoint of the old trainer. Pairs such as ``learning_rate=0.1``
change options of the training.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from bem2.multimodal.shapes import draw_questions
from bem2.multimodal.unified_trainer import MultimodalTrainer
from bem_core.utils.seeding import seed_everything
from tests.multimodal.files import write_questions
from tests.parity.options import options_of

DIM, SEED, JOINT_SEED = 32, 11, 12
STEPS, ACCUMULATION = 400, 2
# A shorter run that is stopped and goes on.
PARTS, JOINT = 80, 40
SHORT = {"max_steps": PARTS, "warmup_steps": 8, "eval_steps": 30}


def prepare(folder: Path, seed: int = SEED) -> None:
    """Write what the driver of the old trainer reads."""
    write_questions(folder / "train.jsonl", draw_questions(120, 0))
    write_questions(folder / "eval.jsonl", draw_questions(25, 1))
    (folder / "encoder").mkdir()
    sizes = {"image_size": 32, "patch_size": 8, "num_layers": 2}
    (folder / "encoder" / "metadata.json").write_text(json.dumps(sizes))
    training = {
        "vision_dim": DIM,
        "controller_dim": DIM,
        "learning_rate": 5e-3,
        "weight_decay": 1e-5,
        "batch_size": 4,
        "gradient_accumulation_steps": ACCUMULATION,
    }
    settings = {
        "dim": DIM,
        "seed": seed,
        "joint": JOINT,
        "joint_seed": JOINT_SEED,
        "whole": training | {"max_steps": STEPS, "warmup_steps": 40, "evaluation_steps": 150},
        "parts": training | {"max_steps": PARTS, "warmup_steps": 8, "evaluation_steps": 30},
    }
    (folder / "settings.json").write_text(json.dumps(settings))


def make_trainer(reference: Path, run: Path, token_level: bool = False, **training: Any) -> MultimodalTrainer:
    given: dict[str, Any] = {
        "max_steps": STEPS,
        "learning_rate": 5e-3,
        "weight_decay": 1e-5,
        "warmup_steps": 40,
        "batch_size": 4,
        "gradient_accumulation_steps": ACCUMULATION,
        "eval_steps": 150,
        "save_strategy": "no",
        "seed": SEED,
    }
    return MultimodalTrainer(
        {
            "name": "parity",
            "compat": "legacy",
            "text": {"encoder": "bytes"},
            "vision": {"dim": DIM},
            "controller": {"dim": DIM, "token_level": token_level},
            "data": {
                "train_file": str(reference / "train.jsonl"),
                "validation_file": str(reference / "eval.jsonl"),
                "max_seq_length": 128,
            },
            "training": given | training,
            "hardware": {"device": "cpu"},
        },
        run,
    )


def main(job: str, folder: Path, run: str = "", *given: str) -> MultimodalTrainer | None:
    """Do it; return the trainer: what it holds at the end is recorded while it is there."""
    torch.set_num_threads(1)
    if job == "prepare":
        prepare(folder, **options_of(word for word in (run, *given) if word))
        return None
    old, given = (given[0], given[1:]) if job == "resume" else ("", given)
    trainer = make_trainer(folder, Path(run), **options_of(given))
    if old:
        trainer.setup_training()
        trainer.resume_from(Path(old))
        seed_everything(JOINT_SEED)
    trainer.train()
    return trainer


if __name__ == "__main__":
    kept = main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
