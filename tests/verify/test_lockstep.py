"""Lockstep: a fault that noise hides in a free run shows where both sides begin each step in the same state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch.optim import AdamW, Optimizer

from migrate.verify.cases import Tolerance, plain_case
from migrate.verify.compare import compare
from migrate.verify.lockstep import judge, largest_noise, updates
from migrate.verify.verdict import Outcome, Verdict
from tests.verify.toys import Toy

TOLERANCE = Tolerance(reason="rounding")


class Plain(Toy):
    steps = 8
    eval_every = 4


class Fused(Plain):
    """Another kernel, which rounds otherwise."""

    def make_optimizer(self) -> Optimizer:
        return AdamW(self.groups(), lr=self.rate, fused=True)


def fused_with(change: Any) -> type[Toy]:
    class Faulty(Fused):
        def make_optimizer(self) -> Optimizer:
            optimizer = super().make_optimizer()
            optimizer.register_step_post_hook(lambda optimizer, args, kwargs: change(self.before))
            return optimizer

        def clip(self) -> None:
            super().clip()
            self.before = [(p, p.detach().clone()) for g in self.optimizer.param_groups for p in g["params"]]

    return Faulty


def longer(factor: float) -> Any:
    """Make every update longer, as a wrong learning rate inside of an optimizer would."""

    def change(before: Any) -> None:
        for parameter, old in before:
            parameter.data.copy_(old + (parameter.data - old) * factor)

    return change


def in_lockstep(kind: type[Toy], folder: Path) -> Verdict:
    reference = Plain(folder).record(folder / "reference.trace", states_every=1)
    states = folder / "reference.trace.states"
    Plain(folder).record(folder / "control.trace", states_every=1, inject=states)
    free = kind(folder).record(folder / "free.trace")
    candidate = kind(folder).record(folder / "candidate.trace", states_every=1, inject=states)
    measured = updates(states, folder / "candidate.trace.states")
    noise = largest_noise(updates(states, folder / "control.trace.states"))
    assert not any(noise.values())
    marked = judge(measured, noise, TOLERANCE)
    return compare(reference, candidate, plain_case(tolerance=TOLERANCE), judge=marked, free=free)


def test_other_rounding_is_within_tolerance(tmp_path: Path) -> None:
    free = compare(
        Plain(tmp_path).record(tmp_path / "a.trace"), Fused(tmp_path).record(tmp_path / "b.trace"), plain_case()
    )
    assert free.outcome is Outcome.DIFFERENT
    found = in_lockstep(Fused, tmp_path)
    assert found.outcome is Outcome.WITHIN_TOLERANCE, found.reasons
    assert found.reasons == ("tolerated: rounding",)


@pytest.mark.parametrize("factor", [1 + 1e-4, 1 - 1e-4])
def test_an_update_that_is_a_ten_thousandth_longer_is_found(factor: float, tmp_path: Path) -> None:
    found = in_lockstep(fused_with(longer(factor)), tmp_path)
    assert found.outcome is Outcome.DIFFERENT
    assert found.first is not None
    assert (found.first.step, found.first.channel) == (1, "parameters")
    assert found.first.error == pytest.approx(1e-4, rel=0.2)


def test_what_is_no_rounding_stays_exact(tmp_path: Path) -> None:
    class Rate(Fused):
        rate = 0.02 * (1 + 1e-12)

    found = in_lockstep(Rate, tmp_path)
    assert found.outcome is Outcome.DIFFERENT
    assert found.first is not None
    assert found.first.phase == "hyper"
