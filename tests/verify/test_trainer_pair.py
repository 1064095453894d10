"""A hand-written loop against the same training by `BaseTrainer`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.optim import AdamW, lr_scheduler

from bem_core.utils.seeding import seed_everything
from migrate.verify.cases import plain_case
from migrate.verify.compare import compare
from migrate.verify.trace.reader import Trace, read_trace
from migrate.verify.trace.session import tracing
from migrate.verify.verdict import Outcome
from tests.training.trainers import loaders, mlp, trained


def by_hand(path: Path) -> Trace:
    with tracing(path):
        seed_everything(42)
        model, (loader, held_out) = mlp(), loaders(20)
        optimizer = AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
        schedule = lr_scheduler.LinearLR(optimizer, start_factor=0.1, total_iters=7)
        for epoch in range(3):
            for number, (features, labels) in enumerate(loader):
                loss = functional.cross_entropy(model(features), labels)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 0.5)
                optimizer.step()
                if epoch * len(loader) + number < 7:
                    schedule.step()
            model.eval()
            # The trainer's evaluation leaves the generators as they were; a loader draws a seed.
            with torch.no_grad(), torch.random.fork_rng():
                for features, labels in held_out:
                    functional.cross_entropy(model(features), labels, reduction="sum")
            model.train()
    return read_trace(path)


def by_trainer(folder: Path, **options: Any) -> Trace:
    given = {
        "max_steps": None,
        "max_epochs": 3,
        "learning_rate": 0.01,
        "weight_decay": 0.1,
        "no_decay": [],
        "scheduler_type": "linear_warmup",
        "scheduler_interval": "warmup",
        "warmup_steps": 7,
        "max_grad_norm": 0.5,
        "eval_strategy": "epoch",
        "save_strategy": "no",
    }
    path = folder / "trainer.trace"
    with tracing(path):
        trained(folder, data=loaders(20), sections={"data": {"randomness": "global"}}, **(given | options))
    return read_trace(path)


@pytest.mark.parametrize(
    ("options", "first"),
    [
        pytest.param({}, None, id="the same"),
        pytest.param({"weight_decay": 0.1000001}, (1, "hyper"), id="weight decay"),
        pytest.param({"warmup_steps": 8}, (2, "hyper"), id="warm-up"),
        pytest.param({"max_grad_norm": 1.0}, (1, "clip"), id="clipping"),
        pytest.param({"eval_strategy": "no"}, (5, "evaluation"), id="no evaluation"),
        pytest.param({"no_decay": ["bias"]}, (1, "setup"), id="groups"),
    ],
)
def test_a_loop_against_the_trainer(options: dict[str, Any], first: Any, tmp_path: Path) -> None:
    verdict = compare(by_hand(tmp_path / "hand.trace"), by_trainer(tmp_path, **options), plain_case(steps=15))
    assert (verdict.first and (verdict.first.step, verdict.first.phase)) == first, str(verdict.first)
    assert (verdict.outcome is Outcome.IDENTICAL) == (first is None), verdict.reasons
