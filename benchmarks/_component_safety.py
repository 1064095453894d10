"""The safety component for `component_steps.py`: the old pipeline and ours, with the same sizes and data.

The old bases are parametrized as ours are, so no Gram-Schmidt loop is measured.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

_SIZES = {"vocab_size": 259, "hidden_size": 64, "num_layers": 4, "num_attention_heads": 4, "context_length": 48}
_RANK, _BATCH, _TYPES = 8, 8, 19
_ENCODERS = {"num_layers": 2, "num_heads": 4}


def _batches(steps: int) -> list[dict[str, Any]]:
    import torch

    draw = torch.Generator().manual_seed(0)
    batches = []
    for _ in range(steps):
        ids = torch.randint(_SIZES["vocab_size"], (_BATCH, _SIZES["context_length"]), generator=draw)
        violations = torch.zeros(_BATCH, _TYPES, dtype=torch.long)
        violations[:, 0] = torch.randint(3, (_BATCH,), generator=draw)
        mask = torch.ones_like(ids)
        batches.append({"input_ids": ids, "attention_mask": mask, "labels": ids, "violations": violations})
    return batches


def old(steps: int, folder: Path) -> None:
    """Train with the old pipeline."""
    from src.bem2.safety.constitutional_scorer import ValueModelConfig
    from src.bem2.safety.lagrangian_optimizer import ConstraintConfig
    from src.bem2.safety.safety_basis import SafetyBasisConfig
    from src.bem2.safety.safety_controller import ControlConfig
    from src.bem2.safety.training import SafetyTrainingConfig, SafetyTrainingPipeline
    from src.bem2.safety.violation_detector import ViolationConfig

    from bem_core.models.tiny import TinyConfig, TinyDecoder

    hidden = _SIZES["hidden_size"]
    texts = {"vocab_size": _SIZES["vocab_size"], "max_seq_length": _SIZES["context_length"], **_ENCODERS}
    pipeline = SafetyTrainingPipeline(
        TinyDecoder(TinyConfig(**_SIZES)),
        SafetyTrainingConfig(num_epochs=1, safety_warmup_epochs=0, checkpoint_dir=str(folder), use_wandb=False),
        SafetyBasisConfig(hidden_dim=hidden, safety_rank=_RANK, num_layers=_SIZES["num_layers"]),
        ValueModelConfig(hidden_dim=hidden, **texts),
        ConstraintConfig(),
        ControlConfig(hidden_dim=hidden),
        ViolationConfig(hidden_dim=hidden, **texts),
    )
    pipeline.train(_batches(steps), None)


def new(steps: int, folder: Path) -> None:
    """Train with ours, with the loop of the old one."""
    from bem2.safety.unified_trainer import SafetyTrainer

    config = {
        "name": "safety",
        "experiment_type": "safety",
        "compat": "legacy",
        "model": {"base_model": "tiny", **_SIZES},
        "data": {"max_seq_length": _SIZES["context_length"]},
        "training": {
            "max_steps": steps,
            "eval_strategy": "no",
            "save_strategy": "no",
            "params": {"safety_warmup_epochs": 0},
        },
        "safety_basis": {"rank": _RANK},
        "constitutional_scorer": {"hidden_size": _SIZES["hidden_size"], **_ENCODERS},
        "violation_detector": _ENCODERS,
        "hardware": {"device": "cpu"},
    }
    trainer = SafetyTrainer(config, folder / "run")
    trainer.setup_training(_batches(steps))
    trainer.train()
