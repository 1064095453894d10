"""The router against the old one, bit for bit: both phases, evaluation, and going on from an old checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from bem2.router.unified_trainer import RouterTrainer
from bem_core.utils.seeding import seed_everything
from tests.parity.recording import Differs, compare, load, recording
from tests.router.jobs import POLICY, experiment, run_legacy

EPOCHS, EPISODES, BATCH = 12, 14, 8
BC: dict[str, Any] = {"batch_size": BATCH, "learning_rate": 3e-3, "warmup_steps": 30}
PG: dict[str, Any] = {"batch_size": BATCH, "learning_rate": 1e-3}
ENVIRONMENT = {"type": "multi", "max_sequence_length": 512, "chunk_size": 64}
# What the old trainer had fixed.
PPO = {
    "entropy_coeff": 0.0,
    "value_target": "reward_plus_advantage",
    "minibatches": "steps",
    "kl_window": BATCH,
    "kl_target": 0.05,
}


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Files with traces of the old generator; those of the second fill whole batches."""
    folder = tmp_path_factory.mktemp("traces")
    for file, count, most, seed in (("train", 30, 10, 1), ("validation", 20, 2, 2)):
        options = {"num_traces": count, "chunk_size": 64, "max_chunks_per_trace": most, "seed": seed}
        run_legacy(folder, {"phase": "traces", "policy": POLICY, "traces": options, "file": f"{file}.jsonl"})
    return {"train": str(folder / "train.jsonl"), "validation": str(folder / "validation.jsonl")}


def legacy(folder: Path, phase: str, **job: Any) -> dict[str, Any]:
    training = {"bc": BC | {"num_epochs": EPOCHS}, "pg": PG | {"kl_target": 0.05, "save_every": 6}}[phase]
    joints = {"bc": "checkpoint_epoch_5.pt", "pg": "checkpoint_episode_6.pt"}
    common = {"phase": phase, "seed": 7, "policy": POLICY, "joint": joints[phase], "joint_seed": 99}
    own = {"bc": {}, "pg": {"environment": ENVIRONMENT, "episodes": EPISODES}}[phase]
    return run_legacy(folder, common | own | {"training": training} | job)


@pytest.fixture(scope="module")
def cloned(tmp_path_factory: pytest.TempPathFactory, traces: dict[str, str]) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("bc")
    return folder, legacy(folder, "bc", **traces)


@pytest.fixture(scope="module")
def rewarded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("pg")
    return folder, legacy(folder, "pg")


class Reseeding(RouterTrainer):
    """Seeds the generators at the beginning of an epoch, as the old run was at the joint."""

    joint = 10**9

    def _batches(self, start: int) -> Any:
        if self.progress.epoch == self.joint:
            seed_everything(99)
        return super()._batches(start)


def trainer_of(phase: str, folder: Path, joint: int, traces: dict[str, str] | None = None, **training: Any) -> Any:
    files = {"train_file": traces["train"], "validation_file": traces["validation"]} if traces else {}
    given = {"seed": 7, "max_epochs": EPOCHS, **BC} if phase == "bc" else {"seed": 7, "max_epochs": EPISODES, **PG}
    sections = {"compat": "legacy", "data": files, "task_environment": ENVIRONMENT, "policy_gradient": PPO}
    config = experiment(phase, sections, **given | training)
    if phase == "bc":
        # Left to the options of the old trainer.
        del config["training"]["eval_strategy"]
    kind = type("Joined", (Reseeding,), {"joint": joint})
    return kind(config, folder)


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


def test_cloning_is_the_old_one(tmp_path: Path, cloned: Any, traces: dict[str, str]) -> None:
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
