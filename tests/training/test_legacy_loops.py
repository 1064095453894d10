"""Each loop of the old components, in a few lines of PyTorch, and the options that reproduce it to the last bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, AdamW, lr_scheduler
from torch.utils.data import DataLoader

from bem_core.errors import ConfigError
from bem_core.training.base_trainer import BaseTrainer
from bem_core.utils.seeding import seed_everything
from tests.training.trainers import Classifier, dataset, loaders, mlp, options, trained, weights

GLOBAL = {"data": {"randomness": "global"}}
RATE, DECAY = 0.01, 0.1


def loss_of(model: nn.Module, batch: Any) -> Tensor:
    return functional.cross_entropy(model(batch[0]), batch[1])


def test_router_by_imitation(tmp_path: Path) -> None:
    """Epochs; the learning rate moves in the warm-up only; evaluation after each epoch draws too."""
    seed_everything(42)
    model, (loader, held_out), losses = mlp(), loaders(20), []
    optimizer = AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
    scheduler = lr_scheduler.LinearLR(optimizer, start_factor=0.1, total_iters=7)
    step = 0
    for _ in range(3):
        for batch in loader:
            loss = loss_of(model, batch)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
            if step < 7:
                scheduler.step()
            losses.append(loss.item())
            step += 1
        for _ in held_out:
            pass
    trainer, watch = trained(
        tmp_path,
        data=loaders(20),
        sections=GLOBAL,
        max_steps=None,
        max_epochs=3,
        learning_rate=RATE,
        weight_decay=DECAY,
        no_decay=[],
        scheduler_type="linear_warmup",
        scheduler_interval="warmup",
        warmup_steps=7,
        max_grad_norm=0.5,
        eval_strategy="epoch",
        eval_rng="shared",
        save_strategy="no",
    )
    assert watch.losses == losses
    assert weights(trainer.model) == weights(model)
    assert trainer.optimizer.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]
    assert watch.evaluated == [5, 10, 15]


def test_multimodal(tmp_path: Path) -> None:
    """Sampled micro-batches are what is counted; each is clipped; the tail that fills no window is dropped."""
    seed_everything(42)
    model, data, losses = mlp(), dataset(50), []
    optimizer = AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
    scheduler = lr_scheduler.OneCycleLR(optimizer, max_lr=RATE, total_steps=18, pct_start=6 / 18)
    for step in range(18):
        chosen = np.random.choice(len(data), 4, replace=True)
        batch = torch.utils.data.default_collate([data[int(index)] for index in chosen])
        loss = loss_of(model, batch)
        (loss / 4).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        losses.append(loss.item())
        if (step + 1) % 4 == 0:
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
    trainer, watch = trained(
        tmp_path,
        max_steps=18,
        progress_unit="micro_step",
        gradient_accumulation_steps=4,
        batch_source="sampled",
        loss_weight="equal",
        last_window="drop",
        zero_grad="after_step",
        clip_interval="micro_step",
        learning_rate=RATE,
        weight_decay=DECAY,
        no_decay=[],
        scheduler_type="one_cycle",
        warmup_steps=6,
        max_grad_norm=0.5,
        eval_steps=8,
        save_steps=12,
    )
    assert watch.losses == pytest.approx([sum(losses[at : at + 4]) / 4 for at in (0, 4, 8, 12)], rel=1e-6)
    assert weights(trainer.model) == weights(model)
    assert trainer.optimizer.param_groups[0]["betas"] == optimizer.param_groups[0]["betas"]
    assert (trainer.progress.step, trainer.progress.micro_step) == (4, 16)
    assert watch.evaluated == [2, 4]


@pytest.mark.parametrize("shuffle", [True, False])
def test_perftrack(tmp_path: Path, shuffle: bool) -> None:
    """A fresh iterator each step, named groups with multipliers, evaluation at steps 1, 5 and 9."""

    def loader() -> Any:
        return DataLoader(dataset(20), batch_size=4, shuffle=shuffle)

    seed_everything(42)
    model, losses = mlp(), []
    batches, named = loader(), dict(model.named_parameters())
    rates = {"first": RATE * 0.5, "last": RATE * 1.5, "other": RATE}
    members: dict[str, list[Any]] = {"first": [], "last": [], "other": []}
    for name, parameter in named.items():
        members["first" if name.startswith("0.") else "last" if name.startswith("4.") else "other"].append(parameter)
    groups = [{"params": members[name], "lr": rate} for name, rate in rates.items()]
    optimizer = AdamW(groups, lr=RATE, weight_decay=DECAY)
    scheduler = lr_scheduler.CosineAnnealingLR(optimizer, T_max=12, eta_min=1e-4)
    for _ in range(12):
        model.train()
        optimizer.zero_grad()
        loss = loss_of(model, next(iter(batches)))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    trainer, watch = trained(
        tmp_path,
        data=(loader(), loaders()[1]),
        max_steps=12,
        batch_source="fresh_loader",
        zero_grad="before_forward",
        param_groups=[{"match": ["0.*"], "lr_multiplier": 0.5}, {"match": ["4.*"], "lr_multiplier": 1.5}],
        learning_rate=RATE,
        weight_decay=DECAY,
        no_decay=[],
        scheduler_type="cosine_annealing",
        lr_scheduler_kwargs={"eta_min": 1e-4},
        max_grad_norm=0.5,
        eval_steps=4,
        eval_start=1,
        save_strategy="no",
    )
    assert watch.losses == losses
    assert weights(trainer.model) == weights(model)
    assert watch.rates[-1] == [group["lr"] for group in optimizer.param_groups]
    assert watch.evaluated == [1, 5, 9, 12]


class Constrained(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = mlp()
        self.multipliers = nn.Parameter(torch.tensor([0.5, 0.5]))

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.body(features)
        return logits


def constrained_loss(model: Any, batch: Any) -> tuple[Tensor, Tensor]:
    logits = model(batch[0])
    violations = torch.stack([logits.square().mean() - 0.1, -logits.abs().mean()])
    return functional.cross_entropy(logits, batch[1]) + (model.multipliers * violations).sum(), violations


class SafetyTrainer(BaseTrainer):
    def _setup_model(self) -> nn.Module:
        return Constrained()

    def _forward(self, batch: Any) -> Any:
        return None

    def _compute_loss(self, batch: Any, outputs: Any) -> dict[str, Any]:
        return {"loss": constrained_loss(self.model, batch)[0]}

    def _evaluate(self, dataloader: Any) -> dict[str, float]:
        return {}


def test_safety_with_multipliers_that_ascend(tmp_path: Path) -> None:
    """A second optimizer raises the multipliers after some steps, within bounds; clipping leaves them out."""
    seed_everything(42)
    model, (loader, _) = Constrained(), loaders()
    optimizer = AdamW(model.body.parameters(), lr=RATE, weight_decay=DECAY)
    ascent = SGD([model.multipliers], lr=0.3)
    seen = []
    for step, batch in enumerate(loader):
        optimizer.zero_grad()
        ascent.zero_grad()
        loss, violations = constrained_loss(model, batch)
        loss.backward()
        nn.utils.clip_grad_norm_(model.body.parameters(), 0.5)
        optimizer.step()
        if step >= 4:
            model.multipliers.grad = -violations.detach()
            ascent.step()
            model.multipliers.data.clamp_(0.2, 0.7)
        seen.append(model.multipliers.tolist())
    trainer, _ = trained(
        tmp_path,
        SafetyTrainer,
        sections=GLOBAL,
        max_steps=None,
        max_epochs=1,
        zero_grad="before_forward",
        learning_rate=RATE,
        weight_decay=DECAY,
        no_decay=[],
        scheduler_type="none",
        max_grad_norm=0.5,
        clip_scope=["body.*"],
        dual={"match": ["multipliers"], "learning_rate": 0.3, "start_step": 4, "low": 0.2, "high": 0.7},
        save_strategy="no",
    )
    assert weights(trainer.model) == weights(model)
    assert seen[3] == [0.5, 0.5]
    assert seen[-1][1] == pytest.approx(0.2)


def loop_with_rollback(rate: float) -> tuple[nn.Module, list[int]]:
    """The check of the old pipeline: means of five steps, at the beginning and now; two failures; the best weights."""
    seed_everything(42)
    model, history, went_back, failed, best = mlp(), list[float](), list[int](), 0, float("inf")
    optimizer, kept = SGD(model.parameters(), lr=rate, maximize=True), dict[str, Tensor]()
    for _ in range(6):
        for batch in loaders(40)[0]:
            optimizer.zero_grad()
            loss = loss_of(model, batch)
            loss.backward()
            optimizer.step()
            history.append(loss.item())
            if history[-1] < best:
                best, kept = history[-1], {name: value.clone() for name, value in model.state_dict().items()}
            if len(history) % 4 or len(history) < 5:
                continue
            first = history[:5] if len(history) > 10 else history[-5:]
            failed = failed + 1 if sum(history[-5:]) / 5 - sum(first) / 5 > 0.0 else 0
            if failed == 2:
                failed = 0
                model.load_state_dict(kept)
                went_back.append(len(history))
    return model, went_back


def test_safety_that_goes_back_to_the_best_weights(tmp_path: Path) -> None:
    model, went_back = loop_with_rollback(0.05)
    assert len(went_back) > 1
    trainer, _ = trained(
        tmp_path,
        data=loaders(40),
        sections=GLOBAL,
        max_steps=60,
        optimizer="sgd",
        learning_rate=0.05,
        optimizer_kwargs={"maximize": True},
        scheduler_type="none",
        max_grad_norm=0,
        rollback={"window": 5, "max_increase": 0.0, "check_steps": 4, "threshold": 2},
        save_strategy="no",
    )
    assert weights(trainer.model) == weights(model)


def test_old_base_trainer(tmp_path: Path) -> None:
    """Gradients are reset after the step, and the micro-batches left at the end of an epoch are dropped."""
    seed_everything(42)
    model, (loader, _) = mlp(), loaders(44)
    optimizer = AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
    scheduler = lr_scheduler.LambdaLR(optimizer, lambda step: step / 2 if step < 2 else max(0.0, (9 - step) / 7))
    for _ in range(3):
        for number, batch in enumerate(loader):
            if number == 9:
                # The two that are left; their gradients were never used.
                break
            (loss_of(model, batch) / 3).backward()
            if (number + 1) % 3 == 0:
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                scheduler.step()
                optimizer.zero_grad()
    trainer, _ = trained(
        tmp_path,
        data=loaders(44),
        sections=GLOBAL,
        max_steps=9,
        zero_grad="after_step",
        gradient_accumulation_steps=3,
        loss_weight="equal",
        last_window="drop",
        learning_rate=RATE,
        weight_decay=DECAY,
        no_decay=[],
        scheduler_type="linear",
        warmup_steps=2,
        save_strategy="no",
    )
    assert trainer.progress.step == 9
    assert weights(trainer.model) == weights(model)


class Old(Classifier):
    legacy_options: ClassVar[dict[str, Any]] = {
        "training.zero_grad": "after_step",
        "training.loss_weight": "equal",
        "output.checkpoint_name": "checkpoint_step_{step}",
    }


def test_compat_legacy_selects_the_options_of_the_component(tmp_path: Path) -> None:
    def config(**more: Any) -> Any:
        return Old({**options(**more), "compat": "legacy"}, tmp_path).config

    assert Old(options(), tmp_path).config.training.zero_grad == "before_backward"
    assert config().training.zero_grad == "after_step"
    assert config().output.checkpoint_name == "checkpoint_step_{step}"
    assert config(zero_grad="before_forward").training.zero_grad == "before_forward"
    # What is written down counts, also where it is the default.
    assert config(zero_grad="before_backward").training.zero_grad == "before_backward"


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Classifier, "compat: Classifier has no legacy options"),
        (type("Wrong", (Classifier,), {"legacy_options": {"training.zero_grd": 1}}), "did you mean 'zero_grad'"),
        (type("Wrong", (Classifier,), {"legacy_options": {"trainin.zero_grad": 1}}), "did you mean 'training'"),
        (type("Wrong", (Classifier,), {"legacy_options": {"training.zero_grad": 1}}), "expected one of"),
    ],
)
def test_wrong_legacy_options_are_an_error(kind: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        kind(options() | {"compat": "legacy"}, tmp_path)
