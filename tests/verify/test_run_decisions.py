"""What a run of a case does next: the noise of the reference, lockstep, localising. Sides run in this process."""

from __future__ import annotations

import datetime
import random
from pathlib import Path
from typing import Any

import pytest
from torch.optim import SGD, Optimizer

from migrate.verify import run
from migrate.verify import runner as runners
from migrate.verify.cases import Case, Side, Tolerance
from migrate.verify.children import Finished
from migrate.verify.verdict import Outcome, Verdict
from migrate.verify.waivers import Waiver
from tests.verify.toys import Toy


class Plain(Toy):
    steps = 6
    eval_every = 3


class Limit(Plain):
    limit = 0.6


class Noisy(Plain):
    """Gradients that no seed determines, as those of some kernels."""

    longer = 1.0

    def clip(self) -> None:
        chance = random.SystemRandom()
        for parameter in self.model.parameters():
            parameter.grad *= 1 + 1e-5 * chance.random()  # type: ignore[operator]
        super().clip()

    def make_optimizer(self) -> Optimizer:
        # An update is as noisy as the gradient; Adam divides by its size, and rounding may hide the rest.
        optimizer = SGD(self.groups(), lr=self.rate, momentum=0.9)
        optimizer.register_step_pre_hook(lambda *args: self.remember())
        optimizer.register_step_post_hook(lambda *args: self.lengthen())
        return optimizer

    def remember(self) -> None:
        self.before = [(p, p.detach().clone()) for p in self.model.parameters()]

    def lengthen(self) -> None:
        for parameter, old in self.before if self.longer != 1 else ():
            parameter.data.copy_(old + (parameter.data - old) * self.longer)


class Longer(Noisy):
    longer = 1.01


class Stamped(Plain):
    """Saves where it ran, as many do."""

    def state(self) -> dict[str, Any]:
        return {**super().state(), "folder": str(random.SystemRandom().random())}


class StampedLimit(Stamped):
    limit = 0.6


class StampedFewer(Stamped):
    """Differs in what is saved alone, in an entry that does not change from run to run."""

    def state(self) -> dict[str, Any]:
        return {**super().state(), "best": None}


class LateNoise(Plain):
    """Has noise only after the first checkpoint."""

    def clip(self) -> None:
        if self.step >= 4:
            self.model.head.bias.grad *= 1 + 1e-3 * random.SystemRandom().random()
        super().clip()


KINDS = {kind.__name__: kind for kind in (Plain, Limit, Noisy, Longer, Stamped, StampedLimit, StampedFewer, LateNoise)}
ENDED = Finished(("x",), 0, 0.1, False, (Path("x"),), "")


class InProcess(runners.Runner):
    """Runs a toy where a process would be started."""

    def record(self, name: str, side: Side, checkpoint: Path | None = None, **settings: Any) -> runners.Recorded:
        path = self.folder / f"{name}.trace"
        given = {"level": "full", **settings}
        given["steps"] = given.pop("window", None)
        given.pop("values_of", None)  # There is no file of them then.
        traces = {}
        for rank, kind in enumerate(side.command):
            process = f".rank{rank}" if rank else ""
            traces[process] = KINDS[kind](self.folder).record(path.with_name(path.name + process), **given)
        self.sides[name] = {}
        return runners.Recorded(ENDED, traces, self.folder, Path(f"{path}.states"), Path(f"{path}.values"))


def decided(folder: Path, reference: str, candidate: str, **case: Any) -> tuple[Verdict, list[str]]:
    sides = {"reference": Side(command=reference.split()), "candidate": Side(command=candidate.split())}
    runner = InProcess(Case(name="toy", **sides, **case), 0, folder)  # type: ignore[arg-type]
    return run._run_pair(runner), list(runner.sides)


TOLERANCE = Tolerance(reason="kernels without an order", scalars=1e-4)


@pytest.mark.parametrize(
    ("reference", "candidate", "case", "outcome", "runs"),
    [
        pytest.param("Plain", "Plain", {}, Outcome.IDENTICAL, 2, id="same"),
        pytest.param("Plain", "Limit", {}, Outcome.DIFFERENT, 5, id="different: control, and both at level deep"),
        pytest.param("Noisy", "Noisy", {}, Outcome.INCONCLUSIVE, 3, id="noise without a tolerance"),
        pytest.param("Noisy", "Noisy", {"tolerance": TOLERANCE}, Outcome.WITHIN_TOLERANCE, 6, id="noise in lockstep"),
        pytest.param("Noisy", "Longer", {"tolerance": TOLERANCE}, Outcome.DIFFERENT, 6, id="a fault above the noise"),
        pytest.param("Plain", "Limit", {"tolerance": TOLERANCE}, Outcome.DIFFERENT, 6, id="no matter of tolerance"),
    ],
)
def test_what_follows(
    reference: str, candidate: str, case: dict[str, Any], outcome: Outcome, runs: int, tmp_path: Path
) -> None:
    verdict, names = decided(tmp_path, reference, candidate, **case)
    assert (verdict.outcome, len(names)) == (outcome, runs), verdict.reasons
    if reference == "Noisy":
        assert str(verdict.noise).startswith("does not agree with itself: step 1, ")
    if candidate == "Longer":
        assert verdict.first is not None
        assert verdict.first.channel == "parameters"
        assert verdict.first.error == pytest.approx(0.01, rel=0.1)


def test_what_is_saved_differs_in_each_run(tmp_path: Path) -> None:
    """What is trained does not, so the reference has no noise in it."""
    verdict, names = decided(tmp_path, "Stamped", "StampedLimit")
    assert verdict.outcome is Outcome.DIFFERENT
    assert verdict.first is not None
    assert (verdict.first.step, verdict.first.channel) == (1, "clip")
    assert str(verdict.noise).startswith("does not agree with itself: step")
    assert verdict.localised is not None
    assert len(names) == 5
    for candidate in ("Stamped", "StampedFewer"):
        verdict, names = decided(tmp_path, "Stamped", candidate)
        assert verdict.outcome is Outcome.INCONCLUSIVE
        assert "a waiver of these keys" in verdict.reasons[0]
        assert len(names) == 3
    waiver = Waiver(
        id="folder", reason="it is made anew", channel="checkpoint", expires=datetime.date.max, keys="folder"
    )
    verdict, names = decided(tmp_path, "Stamped", "Stamped", waivers=[waiver])
    assert (verdict.outcome, len(names)) == (Outcome.WITHIN_TOLERANCE, 2)
    for candidate, key in (("StampedLimit", "1 max_norm"), ("StampedFewer", "best")):
        verdict, _ = decided(tmp_path, "Stamped", candidate, waivers=[waiver])
        assert verdict.outcome is Outcome.DIFFERENT
        assert verdict.noise == "agrees with itself"
        assert verdict.first is not None
        assert verdict.first.key == key


def test_noise_of_another_rank_is_noise(tmp_path: Path) -> None:
    """What rank 0 saves differs before rank 1 trains something else."""
    verdict, _ = decided(tmp_path, "Stamped LateNoise", "Stamped LateNoise")
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "needs a tolerance" in verdict.reasons[0]


def test_a_difference_gets_errors_a_cause_and_a_plot(tmp_path: Path) -> None:
    verdict, _ = decided(tmp_path, "Plain", "Limit")
    errors = {one.key: one.error for one in verdict.divergences if one.channel == "parameters"}
    assert errors
    assert all(error is not None and 0 < error < 1 for error in errors.values())
    assert verdict.localised is not None
    assert verdict.localised.cause.startswith("another limit")
    assert {"parameters", "state", "loss"} <= {one.name for one in verdict.drift}


def test_noise_is_drawn_beside_the_difference(tmp_path: Path) -> None:
    verdict, _ = decided(tmp_path, "Noisy", "Longer", tolerance=TOLERANCE)
    series = next(one for one in verdict.drift if one.name == "update of parameters")
    assert len(series.noise) == len(series.errors) == Plain.steps
    assert all(0 < noise < error for noise, error in zip(series.noise, series.errors, strict=True))
