"""A run that was stopped and resumed ends with the same bytes as one that was never stopped."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from bem_core.training.base_trainer import BaseTrainer
from bem_core.training.checkpoint import load_tree
from bem_core.utils.digest import digest
from tests.training.trainers import Classifier, dataset, loaders, options

ROOT = Path(__file__).resolve().parents[2]
STEPS = 24


class Noisy(Dataset[Any]):
    """Samples that are augmented with numbers of all three generators."""

    def __init__(self) -> None:
        self._plain = dataset(20)

    def __len__(self) -> int:
        return len(self._plain)

    def __getitem__(self, index: int) -> Any:
        features, label = self._plain[index]
        return features + 0.1 * torch.randn(features.shape) + random.random() * float(np.random.rand()), label


def masked(samples: list[Any]) -> Any:
    """A collation that draws, as those of masked language models do."""
    features = torch.stack([sample[0] for sample in samples])
    return features * (torch.rand(features.shape) > 0.1), torch.stack([sample[1] for sample in samples])


class OwnState(Classifier):
    """A component with state of its own, which its loss depends on."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seen = torch.zeros(())

    def _compute_loss(self, batch: Any, outputs: Any) -> dict[str, Any]:
        self.seen = self.seen + 1
        loss = super()._compute_loss(batch, outputs)["loss"]
        return {"loss": loss + 1e-3 * self.seen * outputs.square().mean(), "data": loss}

    def _state(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def _load_state(self, state: dict[str, Any]) -> None:
        self.seen = state["seen"]


class Unfair(Classifier):
    """An evaluation that draws random numbers and changes modes."""

    def _evaluate(self, dataloader: Any) -> dict[str, float]:
        noise = random.random() + float(np.random.rand()) + float(torch.rand(()))
        self.model.train()
        return {"loss": super()._evaluate(dataloader)["loss"] + 1e-9 * noise}


def noisy(workers: int, **kwargs: Any) -> tuple[Any, Any]:
    extra = {"persistent_workers": True, "multiprocessing_context": "fork"} if workers else {}
    train = DataLoader(Noisy(), batch_size=3, shuffle=True, num_workers=workers, collate_fn=masked, **extra | kwargs)
    return train, loaders()[1]


CASES: dict[str, Any] = {
    "plain": (Classifier, {}, {}, loaders),
    "accumulation, last window of an epoch too short": (Classifier, {"gradient_accumulation_steps": 3}, {}, loaders),
    "augmentation and masking": (Classifier, {}, {}, lambda: noisy(0)),
    "two workers": (Classifier, {}, {}, lambda: noisy(2)),
    "global generators": (Classifier, {}, {"data": {"randomness": "global"}}, lambda: noisy(0)),
    "fresh loader": (Classifier, {"batch_source": "fresh_loader"}, {}, loaders),
    "sampled": (Classifier, {"batch_source": "sampled"}, {}, loaders),
    "state of the component": (OwnState, {}, {}, loaders),
    "unfair evaluation": (Unfair, {"eval_steps": 1}, {}, loaders),
    "float16": (Classifier, {}, {"hardware": {"device": "cpu", "mixed_precision": "fp16"}}, loaders),
    "one cycle": (Classifier, {"scheduler_type": "one_cycle", "warmup_steps": 5}, {}, loaders),
    "schedule by epochs": (Classifier, {"scheduler_type": "step", "scheduler_interval": "epoch"}, {}, loaders),
    "momentum": (Classifier, {"optimizer": "sgd", "optimizer_kwargs": {"momentum": 0.9}}, {}, loaders),
    "evaluation and saving by epochs": (Classifier, {"eval_strategy": "epoch", "save_strategy": "epoch"}, {}, loaders),
    "rollback": (Classifier, {"rollback": {"check_steps": 2, "window": 2, "max_increase": 0.0}}, {}, loaders),
}


def run(case: str, folder: Path, stop_at: int | None = None, save_steps: int = 100) -> BaseTrainer:
    """Train, or go on with, a case; stop after a step as a signal would make it stop."""
    kind, training, more, make = CASES[case]

    class Stopped(kind):  # type: ignore[misc, valid-type]
        def _on_step_end(self, losses: Any) -> None:
            if self.progress.step == stop_at:
                os.kill(os.getpid(), signal.SIGUSR1)

    config = options(max_steps=STEPS, logging_steps=5, eval_steps=4, save_steps=save_steps) | more
    config["training"] |= training
    trainer = Stopped(config, folder)
    trainer.setup_training(*make())
    trainer.resume_from("auto")
    if stop_at is None:
        trainer.train()
    else:
        with pytest.raises(Exception, match="SIGUSR1"):
            trainer.train()
    return trainer


def content(folder: Path) -> dict[str, Any]:
    """What a run ends with, without what depends on the clock."""
    tree = load_tree(folder / "checkpoints" / f"step-{STEPS:08d}")
    del tree["trainer"]["progress"]["elapsed_s"]
    parts = {name: digest(part) for name, part in tree.items()}
    files = {name: (folder / name).read_bytes() for name in ("metrics.jsonl", "metrics.csv")}
    return parts | files


@pytest.mark.parametrize("case", CASES)
def test_resuming_is_as_if_the_run_was_never_stopped(case: str, tmp_path: Path) -> None:
    run(case, tmp_path / "whole")
    for stop_at in (1, 7, 13, 23):
        run(case, tmp_path / "stopped", stop_at)
    run(case, tmp_path / "stopped")
    assert content(tmp_path / "stopped") == content(tmp_path / "whole")


def start(case: str, folder: Path) -> subprocess.Popen[bytes]:
    """Train a case in a process of its own, with a checkpoint every other step."""
    code = f"from tests.training.test_resume import *; run({case!r}, Path({str(folder)!r}), save_steps=2)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.DEVNULL)


@pytest.mark.parametrize("case", ["accumulation, last window of an epoch too short", "two workers"])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(case: str, tmp_path: Path) -> None:
    chance = random.Random(case)
    run(case, tmp_path / "whole", save_steps=2)
    folder, saved, kills = tmp_path / "killed", tmp_path / "killed" / "checkpoints", 0
    while kills < 4:
        process = start(case, folder)
        before = set(saved.iterdir()) if saved.is_dir() else set()
        while process.poll() is None and not (saved.is_dir() and len(set(saved.iterdir()) - before) >= 2):
            time.sleep(0.005)
        time.sleep(chance.random() * 0.05)
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        if (saved / f"step-{STEPS:08d}" / "manifest.json").exists():
            break
    assert kills
    run(case, folder, save_steps=2)
    assert content(folder) == content(tmp_path / "whole")
