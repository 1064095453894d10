"""The safety pipeline of the old repository and ours: the same losses, weights, states and random numbers at each step.

Rollbacks, the multiplier and the curriculum are at work in both.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from bem2.safety.unified_trainer import SafetyTrainer
from bem_core.training.foreign import restore_foreign
from bem_core.utils.seeding import seed_everything
from tests.parity import recording
from tests.parity.safety_task import write_base_weights
from tests.parity.unified_safety import EPOCHS, prepared

ROOT = Path(__file__).parents[2]
STEPS = 210


def legacy(folder: Path, base: Path, **options: Any) -> dict[str, Any]:
    """Run the old pipeline in a process of its own; return what it wrote down."""
    folder.mkdir(exist_ok=True)
    path = os.pathsep.join(map(str, (ROOT / "tests/legacy_repo", ROOT / "tests/parity", ROOT)))
    given = [f"{name}={value}" for name, value in (options | {"epochs": EPOCHS, "base": base}).items()]
    command = [sys.executable, str(ROOT / "tests/parity/legacy_safety.py"), str(folder), *given]
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    results: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return results


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("base") / "base.pt"
    write_base_weights(path)
    return path


@pytest.fixture(scope="module")
def reference(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("legacy")
    return folder, legacy(folder, base)


def test_every_step_is_that_of_the_old_pipeline(base: Path, reference: Any, tmp_path: Path) -> None:
    folder, results = reference
    trainer = prepared(tmp_path, base)
    with recording.recording() as record:
        summary = trainer.train()
    # An update of the weights each step, and one of the multiplier each step after the first 20.
    assert recording.compare(recording.load(folder / "record.pt"), record) == STEPS + STEPS - 20
    assert summary["total_steps"] == results["total_steps"] == STEPS
    assert results["num_rollbacks"] > 1
    assert trainer.model.multiplier.item() == results["lambda"] != 1.0
    assert digests(trainer) == digests(restored(folder / f"checkpoints/epoch_{EPOCHS - 1}.pt", base))
    check_metrics(summary["final_metrics"], results["metrics"])


def restored(path: Path, base: Path) -> SafetyTrainer:
    trainer = prepared(path.parent / "unused", base)
    restore_foreign(trainer, path)
    return trainer


def digests(trainer: SafetyTrainer) -> dict[str, str]:
    state = trainer.model.state_dict()
    return {name: recording.digest(value) for name, value in state.items() if name != "multiplier"}


def check_metrics(new: dict[str, float], old: dict[str, float]) -> None:
    assert new["eval_constitutional_score"] == old["val_constitutional_score"]
    assert new["eval_safety_level"] == old["val_safety_level"]
    assert new["eval_average_confidence"] == old["val_average_confidence"]
    # The old one counts in each batch of 8.
    assert new["eval_screening_rate"] == old["val_violations_detected"] / 8


def test_a_checkpoint_of_the_old_pipeline_is_gone_on_from(base: Path, reference: Any, tmp_path: Path) -> None:
    """It holds neither the optimizer nor the multiplier, so both sides begin those anew."""
    saved = reference[0] / "checkpoints/epoch_4.pt"
    results = legacy(tmp_path / "legacy", base, resume=saved, first_epoch=5)
    trainer = prepared(tmp_path / "ours", base)
    trainer.resume_from(saved)
    seed_everything(42)
    with recording.recording() as record:
        summary = trainer.train()
    steps = STEPS * 2 // EPOCHS
    assert recording.compare(recording.load(tmp_path / "legacy/record.pt"), record) == 2 * steps
    assert (summary["total_steps"], summary["total_epochs"]) == (STEPS, EPOCHS)
    check_metrics(summary["final_metrics"], results["metrics"])


def draw(trainer: SafetyTrainer) -> None:
    torch.rand(1)


def move(trainer: SafetyTrainer) -> None:
    with torch.no_grad():
        trainer.model.detector.violation_heads.bias[0] += 1e-6


@pytest.mark.parametrize(
    ("training", "change"),
    [({"learning_rate": 3.001e-3}, None), ({"weight_decay": 0.011}, None), ({}, draw), ({}, move)],
    ids=["rate", "decay", "random-number", "weight"],
)
def test_a_small_change_is_noticed(training: Any, change: Any, base: Path, reference: Any, tmp_path: Path) -> None:
    trainer = prepared(tmp_path, base, max_steps=2, **training)
    if change:
        change(trainer)
    with recording.recording() as record:
        trainer.train()
    with pytest.raises(recording.Differs, match="after 0 steps"):
        recording.compare(recording.load(reference[0] / "record.pt"), record)
