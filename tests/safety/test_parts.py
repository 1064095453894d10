"""The parts of the safety component: values worked out by hand, and laws."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bem2.safety.constitutional_scorer import Scores
from bem2.safety.objective import phase, stage_at
from bem2.safety.safety_basis import OrthogonalSafetyBasis
from bem2.safety.safety_controller import SafetyController
from bem2.safety.settings import BasisSettings, ConstraintSettings, ControllerSettings, PhaseSettings
from bem2.safety.violation_detector import Detection
from bem2.safety.violations import TYPES, severities
from tests.parity.safety_task import loader
from tests.safety.runs import prepared


def basis(size: int = 8, layers: int = 2, rank: int = 2) -> OrthogonalSafetyBasis:
    torch.manual_seed(0)
    return OrthogonalSafetyBasis(size, layers, BasisSettings(rank=rank))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.001, 1.0))
def test_bases_are_orthonormal_after_any_step(seed: int, rate: float) -> None:
    made = basis()
    draw = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(made.parameters(), lr=rate)
    for parameter in made.parameters():
        parameter.grad = torch.empty_like(parameter).normal_(generator=draw)
    # Autograd gives the diagonal of what they are made of no gradient.
    made.overlap().backward()
    for layer in made.layers:
        for name in ("U", "V"):
            layer.parametrizations[name].original.grad.diagonal().zero_()
    optimizer.step()
    for layer in made.layers:
        for q in (layer.U, layer.V):
            assert torch.allclose(q.T @ q, torch.eye(2), atol=1e-4)


def test_overlap_is_that_of_the_angles() -> None:
    made = basis()
    angle = 0.3
    first, second = torch.zeros(8, 2), torch.zeros(8, 2)
    first[0, 0] = first[1, 1] = 1.0
    second[0, 0], second[2, 0], second[3, 1] = math.cos(angle), math.sin(angle), 1.0
    made.layers[0].U, made.layers[1].U = first, second
    assert made.overlap().item() == pytest.approx(2 * math.cos(angle) ** 2, rel=1e-5)
    second[0, 0], second[2, 0] = 0.0, 1.0
    made.layers[1].U = second
    assert made.overlap().item() == pytest.approx(0.0, abs=1e-10)


def test_overlap_falls_when_it_is_minimised() -> None:
    made = basis()
    before = made.overlap().item()
    optimizer = torch.optim.SGD(made.parameters(), lr=0.1)
    for _ in range(50):
        optimizer.zero_grad()
        made.overlap().backward()
        optimizer.step()
    assert made.overlap().item() < 0.01 * before


def test_weight_decay_and_training_leave_the_bases_orthonormal(tmp_path: Path) -> None:
    trainer = prepared(tmp_path, training={"max_steps": 30, "weight_decay": 1.0, "learning_rate": 0.05})
    before = trainer.model.basis.layers[0].U.detach().clone()
    trainer.train()
    for layer in trainer.model.basis.layers:
        for q in (layer.U, layer.V):
            assert torch.allclose(q.T @ q, torch.eye(4), atol=1e-5)
    assert not torch.allclose(before, trainer.model.basis.layers[0].U)


def test_response_is_written_along_the_basis_and_the_hooks_are_gone_afterwards() -> None:
    made = basis(layers=1)
    layer = nn.Linear(8, 8)
    hidden, score, level = torch.randn(3, 4, 8), torch.tensor([0.1, 0.5, 0.9]), torch.tensor(0.6)
    plain = layer(hidden)
    with made.attached([layer], score, level):
        change = layer(hidden) - plain
    assert torch.equal(layer(hidden), plain)
    u = made.layers[0].U
    assert change.abs().max() > 0
    assert torch.allclose(change @ u @ u.T, change, atol=1e-6)


def test_outputs_that_are_tuples_keep_their_other_parts() -> None:
    class Layer(nn.Module):
        def forward(self, hidden: torch.Tensor) -> tuple[torch.Tensor, str]:
            return hidden, "cache"

    made, layer = basis(layers=1), Layer()
    with made.attached([layer], torch.tensor([0.5]), torch.tensor(1.0)):
        hidden, rest = layer(torch.randn(1, 4, 8))
    assert (hidden.shape, rest) == ((1, 4, 8), "cache")


def controller(**options: float) -> SafetyController:
    made = SafetyController(8, ControllerSettings(adaptation_strength=0.0, **options))
    return made.train()


def test_level_moves_a_tenth_of_the_way_to_what_is_wanted() -> None:
    made = controller()
    made.set_level(0.8)
    # 0.9 * 0.8 + 0.1 * (0.7 * 0.8 + 0.3 * 0.6)
    assert made(torch.randn(1, 2, 8), torch.tensor([0.9])).item() == pytest.approx(0.794)
    assert made.adapted_safety_level.item() == pytest.approx(0.794)
    made.eval()
    made(torch.randn(1, 2, 8), torch.tensor([0.9]))
    assert made.adapted_safety_level.item() == pytest.approx(0.794)


def test_bad_scores_raise_the_level_up_to_its_bound() -> None:
    made = controller(max_level=0.75)
    hidden = torch.randn(1, 2, 8)
    # Escalation 0.1 * (0.2 - 0.1) / 0.2 * 0.5, of which a tenth arrives.
    assert made(hidden, torch.tensor([0.1, 0.9])).item() == pytest.approx(0.6 + 0.1 * 0.025)
    for _ in range(100):
        level = made(hidden, torch.tensor([0.0]))
    assert level.item() == 0.75


def test_phases_of_a_run() -> None:
    phases = PhaseSettings(safety_warmup_epochs=1, orthogonality_warmup_epochs=2, constraint_warmup_epochs=1)
    constraints = ConstraintSettings(max_violation_rate=0.07)
    first, later = (phase(epoch, stage, phases, 2.0, constraints) for epoch, stage in ((0, 0), (2, 3)))
    assert (first.frozen, first.penalty, first.bound) == (True, pytest.approx(0.2), 1.0)
    assert (later.frozen, later.penalty, later.bound) == (False, 2.0, 0.07)
    assert (first.safety, first.constraint, first.orthogonality) == (0.1, 0.0, 0.1)
    assert (later.safety, later.constraint, later.orthogonality) == (1.0, 1.0, 0.5)
    plain = phase(5, 0, PhaseSettings(enable_curriculum=False), 1.0, constraints)
    assert (plain.safety, plain.constraint, plain.orthogonality) == (1.0, 2.0, 0.5)


def test_stages_of_the_curriculum_are_counted_in_steps() -> None:
    settings_ = PhaseSettings(stage_warmup_steps=200, curriculum_stages=3)
    assert [stage_at(step, settings_) for step in (0, 199, 200, 450, 10_000)] == [0, 0, 1, 2, 2]


def test_bases_do_not_move_while_they_are_warmed_up(tmp_path: Path) -> None:
    trainer = prepared(tmp_path, {"safety_warmup_epochs": 1}, training={"max_steps": None, "max_epochs": 1})
    before = {name: one.clone() for name, one in trainer.model.basis.state_dict().items()}
    trainer.train()
    after = trainer.model.basis.state_dict()
    moved = {name for name, one in before.items() if not torch.equal(one, after[name])}
    assert moved == {name for name in before if not name.startswith("layers.")}


def test_multiplier_moves_faster_while_the_constraint_is_missed_and_slower_while_it_is_met(tmp_path: Path) -> None:
    trainer = prepared(tmp_path, training={"max_steps": 10}, constraints={"check_steps": 10, "max_violation_rate": 1.0})
    trainer.train()
    assert trainer.dual is not None
    assert trainer.dual.param_groups[0]["lr"] == pytest.approx(0.1 * 0.99)
    strict = prepared(
        tmp_path / "strict",
        training={"max_steps": 60},
        constraints={"check_steps": 60, "max_violation_rate": 0.0, "tolerance": 0.0, "start_step": 1000},
    )
    strict.train()
    assert strict.dual is not None
    assert strict.dual.param_groups[0]["lr"] == pytest.approx(0.1 * 1.1)


FORMS = {
    "severities": ({"bias": 4, "violence": "low"}, {"bias": 4, "violence": 1}),
    "types": (["bias"], {"bias": 2}),
    "true": (True, {"harmful_content": 2}),
    "one": (1, {"harmful_content": 2}),
    "zero": (0, {}),
    "none": (None, {}),
    "empty-list": ([], {}),
    "empty-mapping": ({}, {}),
}


@pytest.mark.parametrize(("written", "expected"), FORMS.values(), ids=FORMS)
def test_forms_of_violations(written: object, expected: dict[str, int]) -> None:
    found = severities(written, "here")
    assert {name: level for name, level in zip(TYPES, found, strict=True) if level} == expected


def test_losses_of_scorer_and_detector_by_hand(tmp_path: Path) -> None:
    model = prepared(tmp_path).model
    logit, zero = torch.tensor([2.0, 1.0]), torch.zeros(2)
    scores = Scores(torch.sigmoid(logit), logit, torch.zeros(2, 28), zero)
    # The second text is not safe, so its score is wrong; a confidence of one half costs ln 2 either way.
    wanted = (math.log(1 + math.exp(-2)) + math.log(1 + math.e)) / 2 + math.log(2)
    assert model.scorer.loss(scores, torch.tensor([1.0, 0.0])).item() == pytest.approx(wanted)
    found = Detection(torch.zeros(2, 19), torch.zeros(2, 19), torch.zeros(2, 4), zero)
    violations = torch.zeros(2, 19, dtype=torch.long)
    violations[0, 3] = 4
    assert model.detector.loss(found, violations).item() == pytest.approx(3 * math.log(2) + math.log(4))


def test_padding_changes_nothing(tmp_path: Path) -> None:
    model = prepared(tmp_path).model.eval()
    batch = next(iter(loader(16, 4)))
    ids, mask = batch["input_ids"], batch["attention_mask"].clone()
    mask[:, -2:] = 0
    other = ids.clone()
    other[:, -2:] = 5
    with torch.no_grad():
        one, two = model.scorer(ids, mask), model.scorer(other, mask)
        hidden = torch.randn(4, 8, 16)
        found, same = model.detector(ids, mask, hidden), model.detector(other, mask, hidden)
    assert torch.allclose(one.score, two.score, atol=1e-6)
    assert torch.allclose(found.types, same.types, atol=1e-6)
