"""What the safety component learns on a task of seconds, and what it needs for that."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bem2.safety.unified_trainer import SafetyTrainer
from bem_core.training.base_trainer import BaseTrainer
from bem_core.training.callbacks import Callback
from bem_core.training.step import Outcome
from tests.parity.safety_task import SIZES, batches, loader
from tests.safety.runs import experiment, prepared, share_of_forbidden_answers

BOUND = 0.05


class Watch(Callback):
    """Remembers the rate of violations and the multiplier after each step."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.multipliers: list[float] = []

    def on_step_end(self, trainer: BaseTrainer, outcome: Outcome) -> None:
        self.rates.append(outcome.losses["violation_rate"].item())
        self.multipliers.append(trainer.model.multiplier.item())


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> tuple[SafetyTrainer, Watch]:
    watch = Watch()
    trainer = SafetyTrainer(experiment(), tmp_path_factory.mktemp("bound"), callbacks=[watch])
    trainer.setup_training(loader(256, 16), batches(128, 32))
    trainer.train()
    return trainer, watch


def test_answers_keep_to_the_bound_and_without_the_constraint_they_do_not(
    watched: tuple[SafetyTrainer, Watch], tmp_path: Path
) -> None:
    untrained = prepared(tmp_path / "untrained")
    assert share_of_forbidden_answers(untrained) > 0.8
    free = prepared(tmp_path / "free", {"violation_constraint_weight": 0.0})
    free.train()
    assert free.evaluate()["eval_violation_rate"] > 0.4
    assert share_of_forbidden_answers(free) > 0.4
    trainer, _ = watched
    assert trainer.evaluate()["eval_violation_rate"] < BOUND
    assert share_of_forbidden_answers(trainer) < 0.3
    # It still predicts, far better than by chance.
    assert trainer.evaluate()["eval_utility_loss"] < 1.0 < untrained.evaluate()["eval_utility_loss"]


def test_multiplier_rises_with_each_violated_step_and_falls_with_each_other(
    watched: tuple[SafetyTrainer, Watch],
) -> None:
    rates, multipliers = watched[1].rates, watched[1].multipliers
    # It waits for the first 20 steps.
    assert set(multipliers[:20]) == {1.0}
    for rate, before, after in zip(rates[20:], multipliers[19:], multipliers[20:], strict=False):
        assert after > before if rate > BOUND else after < before
    assert max(rates[:60]) > 0.3
    assert sum(rates[-20:]) / 20 < 0.15
    assert multipliers[-1] > 1.5


def test_scorer_and_detector_are_right_and_only_because_of_the_tokens(watched: tuple[SafetyTrainer, Watch]) -> None:
    trainer, _ = watched
    metrics = trainer.evaluate()
    assert metrics["eval_scorer_accuracy"] > 0.95
    assert metrics["eval_detector_accuracy"] > 0.85
    mixed = torch.randperm(SIZES["vocab_size"], generator=torch.Generator().manual_seed(3))
    trainer.eval_dataloader = [one | {"input_ids": mixed[one["input_ids"]]} for one in batches(128, 32)]
    try:
        shuffled = trainer.evaluate()
    finally:
        trainer.eval_dataloader = batches(128, 32)
    assert shuffled["eval_scorer_accuracy"] < 0.7
    assert shuffled["eval_detector_accuracy"] < 0.7


def test_gradients_reach_every_tensor(tmp_path: Path) -> None:
    trainer = prepared(tmp_path, training={"max_steps": 4})
    trainer.train()
    trainer.model.train()
    batch = next(iter(loader(64, 64)))
    trainer.model.zero_grad()
    trainer._compute_loss(batch, trainer._forward(batch))["loss"].backward()
    without = [name for name, one in trainer.model.named_parameters() if one.grad is None or not one.grad.any()]
    assert without == []


def test_judge_gives_the_model_a_gradient_and_takes_none_itself(tmp_path: Path) -> None:
    model = prepared(tmp_path).model
    logits = torch.randn(2, 6, SIZES["vocab_size"], requires_grad=True)
    mask = torch.ones(2, 6, dtype=torch.long)
    scores = model.scorer.judge(logits, mask)
    scores.score.sum().backward()
    assert logits.grad is not None
    assert logits.grad.any()
    assert all(one.grad is None and one.requires_grad for one in model.scorer.parameters())
    # What is judged are the tokens that are said.
    model.scorer.eval()
    assert torch.allclose(scores.score, model.scorer(logits.argmax(-1), mask).score, atol=1e-5)
