"""The router against the old one, bit for bit: both phases, evaluation, and going on from an old checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.parity.recording import Differs, compare, load, recording
from tests.parity.router_task import EPISODES, trace_jobs, training_job
from tests.parity.unified_router import trainer_of
from tests.router.jobs import run_legacy


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with traces of the old generator."""
    folder = tmp_path_factory.mktemp("traces")
    for job in trace_jobs():
        run_legacy(folder, job)
    return folder


@pytest.fixture(scope="module")
def cloned(tmp_path_factory: pytest.TempPathFactory, traces: Path) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("bc")
    return folder, run_legacy(folder, training_job("bc", traces))


@pytest.fixture(scope="module")
def rewarded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("pg")
    return folder, run_legacy(folder, training_job("pg"))


def unified(trainer: Any, file: Path | None = None) -> Any:
    """Train, from an old checkpoint where one is given, and return the record."""
    trainer.setup_training()
    if file is not None:
        trainer.load_checkpoint(file)
    with recording() as events:
        trainer.train()
    return events


def same_weights(model: Any, file: Path) -> None:
    """Compare with the state dict of the old policy, counters left out."""
    old = torch.load(file, weights_only=True)
    new = model.state_dict()
    assert set(old) - set(new) == {"action_history", "hysteresis_count"}
    for name, value in new.items():
        assert torch.equal(value, old[name]), name


def test_cloning_is_the_old_one(tmp_path: Path, cloned: Any, traces: Path) -> None:
    folder, results = cloned
    trainer = trainer_of("bc", tmp_path, 6, traces)
    trainer.setup_training()
    same_weights(trainer.model, folder / "initial.pt")
    events = unified(trainer)
    assert compare(load(folder / "record.pt"), events) == results["total_steps"] >= 200
    same_weights(trainer.model, folder / "final.pt")
    assert [one["eval_loss"] for one in trainer.history] == results["eval_losses"]
    assert trainer.progress.best == results["best_eval_loss"]
    assert [one["loss"] for one in events if one["event"] == "backward"] == results["training_losses"]


def test_policy_gradient_is_the_old_one(tmp_path: Path, rewarded: Any) -> None:
    folder, results = rewarded
    trainer = trainer_of("pg", tmp_path, 7)
    trainer.setup_training()
    same_weights(trainer.model, folder / "initial.pt")
    events = unified(trainer)
    assert compare(load(folder / "record.pt"), events) == results["total_steps"] >= 200
    same_weights(trainer.model, folder / "final.pt")
    # The limit on the divergence ended some passes and not others.
    assert EPISODES * 8 < results["total_steps"] < EPISODES * 4 * 8


@pytest.mark.parametrize("phase", ["bc", "pg"])
def test_an_old_checkpoint_is_continued(phase: str, tmp_path: Path, cloned: Any, rewarded: Any, traces: Any) -> None:
    (folder, _), file, joint = {
        "bc": (cloned, "checkpoint_epoch_5.pt", 6),
        "pg": (rewarded, "checkpoint_episode_6.pt", 7),
    }[phase]
    trainer = trainer_of(phase, tmp_path, joint, traces if phase == "bc" else None)
    events = unified(trainer, folder / file)
    old = load(folder / "record.pt")
    assert 60 < compare(old[-len(events) :], events) < len(old) / 3
    same_weights(trainer.model, folder / "final.pt")


@pytest.mark.parametrize(
    ("phase", "change"),
    [
        ("bc", {"learning_rate": 3.0001e-3}),
        ("bc", {"eval_rng": "fenced"}),
        ("bc", {"no_decay": ["bias"]}),
        ("pg", {"learning_rate": 1.0001e-3}),
        ("pg", {"max_grad_norm": 0.5}),
    ],
)
def test_a_change_is_found(
    phase: str, change: dict[str, Any], tmp_path: Path, cloned: Any, rewarded: Any, traces: Any
) -> None:
    folder, _ = {"bc": cloned, "pg": rewarded}[phase]
    trainer = trainer_of(phase, tmp_path, 10**9, traces if phase == "bc" else None, max_epochs=2, **change)
    events = unified(trainer)
    with pytest.raises(Differs):
        compare(load(folder / "record.pt")[: len(events)], events)
