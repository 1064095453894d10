"""Checkpoints of old trainers: a run goes on from them, nothing in them is executed, and errors name what is wrong."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.optim import AdamW, lr_scheduler

from bem_core.errors import BemError, CheckpointError
from bem_core.training.foreign import LegacyCheckpoint
from bem_core.training.pickled import read_pickled
from bem_core.utils.seeding import seed_everything
from tests.training.trainers import Classifier, loaders, mlp, prepared, weights

RATE = 0.01
OPTIONS: dict[str, Any] = {
    "max_steps": None,
    "max_epochs": 4,
    "learning_rate": RATE,
    "weight_decay": 0.1,
    "no_decay": [],
    "max_grad_norm": 0,
    "scheduler_type": "cosine_annealing",
    "eval_strategy": "no",
    "save_strategy": "no",
}


@dataclass
class OldStep:
    """A class that the old trainer pickled."""

    step: int
    loss: Any


class Kind(Enum):
    FAST = "fast"


class Old(Classifier):
    """Its trainer wrote files in former times, of a model that was inside another one."""

    legacy_checkpoint = LegacyCheckpoint(
        model={"state.{variant}": ""},
        names={r"^net\.": ""},
        dropped=(r"count",),
        optimizer="optimizers.{variant}",
        scheduler="schedule",
        progress=lambda saved: {"step": saved["step"], "epoch": saved["epoch"] + 1, "best": float(saved["best"])},
    )


class OldRun:
    """A hand-written loop and what it saves."""

    def __init__(self) -> None:
        self.model = mlp()
        self.loader = loaders(20)[0]
        self.optimizer = AdamW(self.model.parameters(), lr=RATE, weight_decay=0.1)
        self.scheduler = lr_scheduler.CosineAnnealingLR(self.optimizer, T_max=20)
        self.step = 0

    def train(self, epochs: int) -> None:
        for _ in range(epochs):
            for features, labels in self.loader:
                self.optimizer.zero_grad()
                functional.cross_entropy(self.model(features), labels).backward()
                self.optimizer.step()
                self.scheduler.step()
                self.step += 1

    def state(self) -> dict[str, Any]:
        return {
            "state": {
                "A": {f"net.{name}": value for name, value in self.model.state_dict().items()}
                | {"count": torch.tensor(3)}
            },
            "optimizers": {"A": self.optimizer.state_dict()},
            "schedule": self.scheduler.state_dict(),
            "step": self.step,
            "epoch": 1,
            "best": np.float64(0.5),
            "history": [OldStep(1, np.float32(2.0))],
            "kind": Kind.FAST,
        }


def trainer_in(folder: Path, variant: str = "A", kind: type[Classifier] = Old) -> Any:
    sections = {"variant_id": variant, "data": {"randomness": "global"}}
    return prepared(folder, kind, data=loaders(20), sections=sections, **OPTIONS)[0]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    seed_everything(1)
    run = OldRun()
    run.train(2)
    torch.save(run.state(), tmp_path / "old.pt")
    return tmp_path / "old.pt"


def test_a_run_goes_on_as_the_old_loop_would(tmp_path: Path, file: Path) -> None:
    seed_everything(1)
    run = OldRun()
    run.train(2)
    seed_everything(7)
    run.train(2)
    trainer = trainer_in(tmp_path / "run")
    trainer.load_checkpoint(file)
    assert trainer.progress.best == 0.5
    seed_everything(7)
    trainer.train()
    assert trainer.progress.step == run.step == 20
    assert weights(trainer.model) == weights(run.model)
    assert trainer.optimizer.param_groups[0]["lr"] == run.optimizer.param_groups[0]["lr"]


def test_resume_takes_a_file_too(tmp_path: Path, file: Path) -> None:
    trainer = trainer_in(tmp_path / "run")
    trainer.resume_from(file)
    assert trainer.train()["total_steps"] == 20


def test_unknown_classes_are_inert_and_keep_their_values(file: Path) -> None:
    found = read_pickled(file)
    step = found["history"][0]
    assert type(step).__name__ == "OldStep"
    assert type(step) is not OldStep
    assert (step.step, float(step.loss)) == (1, 2.0)
    assert found["kind"].args == ("fast",)


class Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.target),)


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    target = tmp_path / "made"
    torch.save({"model": {}, "evil": Bomb(target), "where": PurePosixPath("a/b")}, tmp_path / "evil.pt")
    found = read_pickled(tmp_path / "evil.pt")
    assert not target.exists()
    assert found["evil"].args == (str(target),)


def broken(path: Path, **changes: Any) -> Path:
    saved = torch.load(path, weights_only=False) | changes
    torch.save(saved, path)
    return path


ERRORS = {
    "variant": ({}, "B", ["expected a key 'B' (state.{variant})", "there are A"]),
    "model": ({"state": {"A": {"net.0.weight": torch.zeros(2)}}}, "A", ["of another model", "not in the checkpoint"]),
    "optimizer": ({"optimizers": {"A": {"state": {}, "param_groups": []}}}, "A", ["groups of [] parameters"]),
    "no optimizer": ({"optimizers": {}}, "A", ["expected a key 'A' (optimizers.{variant})"]),
    "no groups": ({"optimizers": {"A": {"state": {}}}}, "A", ["optimizer lacks param_groups"]),
    "schedule": ({"schedule": 1}, "A", ["schedule: expected a mapping, found int"]),
}


@pytest.mark.parametrize(("changes", "variant", "parts"), ERRORS.values(), ids=ERRORS)
def test_errors(tmp_path: Path, file: Path, changes: dict[str, Any], variant: str, parts: list[str]) -> None:
    trainer = trainer_in(tmp_path / "run", variant)
    before = weights(trainer.model)
    with pytest.raises(CheckpointError) as error:
        trainer.load_checkpoint(broken(file, **changes))
    assert all(part in str(error.value) for part in [str(file), *parts]), error.value
    assert weights(trainer.model) == before


def test_state_of_another_shape(tmp_path: Path, file: Path) -> None:
    saved = torch.load(file, weights_only=False)
    saved["optimizers"]["A"]["state"][0]["exp_avg"] = torch.zeros(3, 3)
    with pytest.raises(CheckpointError, match=r"exp_avg of parameter 0 .* shape \(3, 3\), expected \(8, 6\)"):
        trainer_in(tmp_path / "run").load_checkpoint(broken(file, **saved))


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 damaged"])
def test_files_that_are_no_checkpoints(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"x\.pt: it cannot be read as a checkpoint"):
        read_pickled(tmp_path / "x.pt")


def test_a_trainer_that_knows_no_files(tmp_path: Path, file: Path) -> None:
    with pytest.raises(BemError, match=r"expected a folder; Classifier knows no checkpoints that are files"):
        trainer_in(tmp_path / "run", kind=Classifier).load_checkpoint(file)


def test_lists_are_refused(tmp_path: Path) -> None:
    torch.save([nn.Parameter(torch.zeros(1))], tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="expected a mapping"):
        read_pickled(tmp_path / "x.pt")
