"""Runs the multimodal trainer of the old repository on the data of a folder: ``python legacy_multimodal.py FOLDER``.

The folder has ``settings.json``, the questions and the images. It gets records of each `Tensor.backward` and each step
of the optimizer, weights, evaluations, and the checkpoint that the unified trainer goes on from.

With one word more it does a part, without a record: ``cache`` encodes the images; ``train OUT`` trains with checkpoints
in the folder OUT; ``resume OUT FILE`` goes on from one of them.
"""

from __future__ import annotations

import copy
import json
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bem2.multimodal.coverage_analysis import ConsistencyGate
from bem2.multimodal.training import create_multimodal_trainer
from recording import recording

from bem2.multimodal import create_multimodal_controller, create_vision_encoder, create_vision_preprocessor
from bem2.multimodal.evaluation import VQAEvaluator


def seed(number: int) -> None:
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)


def rows_of(file: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    return [
        {
            "image": str(file.parent / row["image"]),
            "question": row["question"],
            "answers": row["answers"],
            "detected_objects": [one["name"] for one in row["objects"]],
            "object_boxes": [one["box"] for one in row["objects"]],
        }
        for row in rows
    ]


def make_trainer(
    folder: Path, settings: dict[str, Any], train: list[Any], held_out: list[Any], name: str, out: Path | None = None
) -> Any:
    dim = settings["dim"]
    VQAEvaluator()  # Imports nltk, which draws from Python's generator.
    seed(settings["seed"])
    encoder = create_vision_encoder(str(folder / "encoder"), {"vision_dim": dim, "num_regions": 4})
    controller = create_multimodal_controller(
        {"hidden_size": dim},
        {"vision_dim": dim, "patch_grid_size": encoder.get_patch_grid_size()},
        {
            "answer_vocab": sorted({text for row in train for text in row["answers"]}),
            "enable_token_routing": name == "parts",
        },
    )
    with torch.random.fork_rng():
        gate = ConsistencyGate(dim, dim, 4, encoder.get_patch_grid_size())
    preprocessor = create_vision_preprocessor(encoder, {"cache_dir": str(folder / "cache")})
    for rows in (train, held_out):
        preprocessor.preprocess_batch([row["image"] for row in rows], batch_size=32)
    return create_multimodal_trainer(controller, encoder, preprocessor, gate, settings[name], str(out or folder / name))


def evaluations(trainer: Any) -> list[dict[str, Any]]:
    return [
        {
            "step": one.step,
            "exact_match": one.vqa_metrics["exact_match"],
            "token_f1": one.vqa_metrics["f1_score"],
            "coverage": one.coverage_stats["mean"],
            "spatial_entropy": one.coverage_stats["spatial_entropy"],
            "consistency": one.consistency_stats["mean"],
            "alignment": one.consistency_stats["alignment"],
            "reliance": one.gate_stats["mean_weight"],
            "object_hallucination_rate": one.hallucination_metrics["object_hallucination_rate"],
        }
        for one in trainer.evaluation_history
    ]


def begin(folder: Path, settings: dict[str, Any], train: list[Any], held_out: list[Any]) -> Any:
    """Train to the joint; return the trainer, which could go on."""
    parts = make_trainer(folder, settings, train, held_out, "parts")
    parts.config.max_steps = settings["joint"]
    parts.train(train, held_out)
    parts.config.max_steps = settings["parts"]["max_steps"]
    return parts


def do(folder: Path, job: str, out: str = "", file: str = "") -> Any:
    """Do a part; return the trainer: what it holds at the end is seen while it is there."""
    settings = json.loads((folder / "settings.json").read_text())
    torch.set_num_threads(1)
    train, held_out = rows_of(folder / "train.jsonl"), rows_of(folder / "eval.jsonl")
    trainer = make_trainer(folder, settings, train, held_out, "whole", Path(out) if out else None)
    if job == "cache":
        return trainer
    if job == "resume":
        # As the method that resumes does, but for the random numbers, which it knows nothing of.
        trainer.load_checkpoint(file)
        seed(settings["joint_seed"])
    trainer.train(train, held_out)
    return trainer


def run(folder: Path) -> None:
    settings = json.loads((folder / "settings.json").read_text())
    torch.set_num_threads(1)
    train, held_out = rows_of(folder / "train.jsonl"), rows_of(folder / "eval.jsonl")
    whole = make_trainer(folder, settings, train, held_out, "whole")
    initial = copy.deepcopy(whole.model.state_dict())
    with recording(folder / "whole.pt"):
        whole.train(train, held_out)

    # Stopped in the middle, and on from there with other random numbers.
    parts = begin(folder, settings, train, held_out)
    seed(settings["joint_seed"])
    with recording(folder / "second.pt"):
        parts.train(train, held_out)
    states = {"initial": initial, "whole": whole.model.state_dict(), "parts": parts.model.state_dict()}
    torch.save(states, folder / "states.pt")
    found = {"whole": evaluations(whole), "parts": evaluations(parts), "best": whole.best_metrics}
    (folder / "evaluations.json").write_text(json.dumps(found))


if __name__ == "__main__":
    kept = do(Path(sys.argv[1]), *sys.argv[2:]) if len(sys.argv) > 2 else run(Path(sys.argv[1]))
