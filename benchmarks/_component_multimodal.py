"""The multimodal case of component_steps.py: four micro-batches of questions about drawn images a step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_DIM, _BATCH, _QUESTIONS = 64, 8, 64


def multimodal_old(steps: int, folder: Path) -> None:
    """Train with the old trainer; the features of all images are in its cache."""
    from src.bem2.multimodal import create_multimodal_controller, create_vision_encoder, create_vision_preprocessor
    from src.bem2.multimodal.coverage_analysis import ConsistencyGate
    from src.bem2.multimodal.training import create_multimodal_trainer

    (folder / "metadata.json").write_text(json.dumps({"image_size": 32, "patch_size": 8, "num_layers": 2}))
    rows = _old_rows()
    encoder = create_vision_encoder(str(folder), {"vision_dim": _DIM, "num_regions": 4})
    grid = encoder.get_patch_grid_size()
    answers = sorted({text for row in rows for text in row["answers"]})
    controller = create_multimodal_controller(
        {"hidden_size": _DIM},
        {"vision_dim": _DIM, "patch_grid_size": grid},
        {"answer_vocab": answers, "enable_token_routing": False},
    )
    preprocessor = create_vision_preprocessor(encoder, {"cache_dir": str(folder / "cache")})
    preprocessor.preprocess_batch([row["image"] for row in rows])
    settings = {
        "vision_dim": _DIM,
        "controller_dim": _DIM,
        "batch_size": _BATCH,
        "max_steps": 4 * steps,
        "warmup_steps": 8,
        "save_steps": 10**6,
    }
    gate = ConsistencyGate(_DIM, _DIM, 4, grid)
    create_multimodal_trainer(controller, encoder, preprocessor, gate, settings, str(folder / "run")).train(rows)


def _old_rows() -> list[dict[str, Any]]:
    from bem2.multimodal.shapes import draw_questions

    data = draw_questions(_QUESTIONS, 0)
    return [
        {
            "image": data.images[one.image],
            "question": one.text,
            "answers": list(one.answers),
            "detected_objects": list(one.objects),
            "object_boxes": [list(box) for box in one.boxes],
        }
        for one in data.questions
    ]


def multimodal_new(steps: int, folder: Path) -> None:
    """Train with ours, with the loop of the old one."""
    from bem2.multimodal.unified_trainer import MultimodalTrainer

    config = {
        "name": "multimodal",
        "experiment_type": "multimodal",
        "compat": "legacy",
        "text": {"encoder": "bytes"},
        "vision": {"dim": _DIM},
        "controller": {"dim": _DIM},
        "data": {"max_seq_length": 128, "train": {"num_samples": _QUESTIONS}},
        "training": {
            "max_steps": 4 * steps,
            "warmup_steps": 8,
            "learning_rate": 1e-4,
            "batch_size": _BATCH,
            "eval_strategy": "no",
            "save_strategy": "no",
        },
        "hardware": {"device": "cpu"},
    }
    MultimodalTrainer(config, folder / "run").train()
