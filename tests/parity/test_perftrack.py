"""The old trainer of the performance track and ours: the same losses, weights, states and random numbers, each step."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from bem2.perftrack.variants import VARIANTS
from bem_core.training.foreign import restore_foreign
from tests.parity import perftrack_task as task
from tests.parity import recording
from tests.parity.unified_perftrack import experiment, prepared

ROOT = Path(__file__).parents[2]


PENALISED = "PT3:penalty=0.5:steps=40"


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train all variants with the old trainer, in a process of its own."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("legacy")
    path = os.pathsep.join(map(str, (ROOT / "tests/legacy_repo", ROOT / "tests/parity", ROOT)))
    command = [sys.executable, "-W", "ignore", str(ROOT / "tests/parity/legacy_perftrack.py"), str(folder)]
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [*command, *VARIANTS, PENALISED], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


def test_every_variant_is_compared() -> None:
    assert set(VARIANTS) == set(task.SETTINGS)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_same_training(reference: Path, tmp_path: Path, variant: str) -> None:
    trainer = prepared(tmp_path, experiment(variant))
    with recording.recording() as record:
        trainer.train()
    assert recording.compare(recording.load(reference / variant / "record.pt"), record) == task.STEPS
    results = json.loads((reference / variant / "results.json").read_text())
    wanted = [*results["eval_metrics_history"], results["final_metrics"]]
    found = [(one["step"] - 1, one["eval_loss"], one["eval_accuracy"]) for one in trainer.history]
    assert found == [(one["step"], one["eval_loss"], one["eval_accuracy"]) for one in wanted]
    assert len({one["eval_loss"] for one in wanted}) == len(wanted)


@pytest.mark.parametrize("variant", VARIANTS)
def test_going_on_from_an_old_checkpoint(reference: Path, tmp_path: Path, variant: str) -> None:
    trainer = prepared(tmp_path, experiment(variant), joint=0)
    trainer.resume_from(reference / variant / f"{variant}_checkpoint_{task.JOINT - 1}.pt")
    with recording.recording() as record:
        trainer.train()
    whole = recording.load(reference / variant / "record.pt")
    # A step is two events: backward and the optimizer.
    assert recording.compare(whole[2 * task.JOINT :], record) == task.STEPS - task.JOINT
    other = prepared(tmp_path / "final", experiment(variant))
    restore_foreign(other, reference / variant / f"{variant}_checkpoint_final.pt")
    assert other.progress.step == trainer.progress.step == task.STEPS
    for name, value in other.model.state_dict().items():
        if not name.endswith("norm.vectors"):
            assert torch.equal(value, trainer.model.state_dict()[name]), name


FAULTS: dict[str, dict[str, Any]] = {
    "rate": {"learning_rate": task.RATE * (1 + 1e-6), "lr_scheduler_kwargs": {"eta_min": task.RATE * 0.01}},
    "groups": {"param_groups": []},
    "decay": {"no_decay": ["norm"]},
    "source": {"batch_source": "loader"},
    "term": {"loss_weights": {"spectral": 0.0, "gate_decorrelation": 0.99}},
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_is_found(reference: Path, tmp_path: Path, fault: dict[str, Any]) -> None:
    trainer = prepared(tmp_path, experiment("PT1", **fault))
    with recording.recording() as record:
        trainer.train()
    with pytest.raises(recording.Differs):
        recording.compare(recording.load(reference / "PT1" / "record.pt"), record)


@pytest.mark.parametrize(("iterations", "difference"), [(1, 0.02), (30, 0.01)])
def test_near_where_the_penalty_bites(reference: Path, tmp_path: Path, iterations: int, difference: float) -> None:
    """The old trainer has an SVD of every matrix in each step, ours goes on with a power iteration."""
    config = experiment("PT3", max_steps=40, loss_weights={"spectral": 0.5})
    config["perftrack"]["power_iterations"] = iterations
    trainer = prepared(tmp_path, config)
    assert trainer.objective.penalty.eval()().item() > 0.01
    with recording.recording() as record:
        trainer.train()
    old = recording.load(reference / PENALISED / "record.pt")
    losses = [(one["loss"], two["loss"]) for one, two in zip(old, record, strict=True) if "loss" in one]
    assert max(abs(one - two) / one for one, two in losses) < difference
    # It does bite, so the two are not the same to the last bit.
    assert losses[-1][0] != losses[-1][1]
