"""Comparing two traces: names, waivers, tolerances, guards, and what makes a comparison inconclusive."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from click.testing import CliRunner, Result
from torch import nn
from torch.optim import AdamW, Optimizer

from migrate.cli import main
from migrate.verify.cases import Checkpoints, Side, plain_case
from migrate.verify.compare import compare
from migrate.verify.names import Tensor, match, propose
from migrate.verify.trace.reader import Trace
from migrate.verify.trace.session import tracing
from migrate.verify.verdict import Outcome
from migrate.verify.waivers import Waiver
from tests.verify.refactorings import REFACTORINGS
from tests.verify.toys import Constrained, Resumed, Toy

TODAY = datetime.date(2026, 5, 1)


class Small(Toy):
    steps = 4
    eval_every = 2
    save_every = 3


class Faster(Small):
    """Another learning rate in the last step but one, too little to change a weight."""

    def take(self, optimizer: Optimizer) -> None:
        if self.step == 3:
            optimizer.param_groups[0]["lr"] *= 1 + 1e-12
        super().take(optimizer)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[type[Toy]], Trace]:
    folder, known = tmp_path_factory.mktemp("runs"), dict[type[Toy], Trace]()

    def run(kind: type[Toy]) -> Trace:
        if kind not in known:
            known[kind] = kind(folder).record(folder / f"{len(known)}.trace")
        return known[kind]

    return run


Runs = Callable[[type[Toy]], Trace]


def waiver(**given: Any) -> Waiver:
    return Waiver(**({"id": "W1", "reason": "why", "channel": "hyper", "expires": TODAY} | given))


@pytest.mark.parametrize(
    ("waivers", "outcome"),
    [
        pytest.param([], Outcome.DIFFERENT, id="none"),
        pytest.param([waiver(bound=1e-11)], Outcome.WITHIN_TOLERANCE, id="fits"),
        pytest.param([waiver(bound=1e-13)], Outcome.DIFFERENT, id="too tight"),
        pytest.param([waiver(last_step=2)], Outcome.DIFFERENT, id="too early"),
        pytest.param([waiver(expires=datetime.date(2026, 4, 30))], Outcome.DIFFERENT, id="expired"),
        pytest.param([waiver(), waiver(id="W2", channel="clip")], Outcome.STALE_WAIVER, id="one is not needed"),
    ],
)
def test_waivers(waivers: list[Waiver], outcome: Outcome, runs: Runs) -> None:
    found = compare(runs(Small), runs(Faster), plain_case(waivers=waivers), today=TODAY)
    assert found.outcome is outcome, found.reasons


def test_a_waiver_for_identical_runs_is_stale(runs: Runs) -> None:
    found = compare(runs(Small), runs(Small), plain_case(waivers=[waiver()]), today=TODAY)
    assert found.outcome is Outcome.STALE_WAIVER
    assert found.reasons == ("waiver W1: nothing needed it",)


FEATURES = ["accumulation", "best", "buffers", "checkpoint", "clip", "dropout", "evaluation", "groups", "schedule"]


def test_features_that_were_active(runs: Runs) -> None:
    found = compare(runs(Small), runs(Small), plain_case(steps=4, features=FEATURES))
    assert found.outcome is Outcome.IDENTICAL, found.reasons


class GoingOn(Resumed):
    steps, stop = 6, 3


class Scaled(Small):
    """Scales its losses, by one."""

    def backward(self, loss: torch.Tensor) -> None:
        if self.step == 1 and not hasattr(self, "scaler"):
            self.scaler = torch.amp.GradScaler("cpu", init_scale=1.0)
        super().backward(self.scaler.scale(loss))

    def take(self, optimizer: Optimizer) -> None:
        self.scaler.step(optimizer)
        self.scaler.update()


@pytest.mark.parametrize(("kind", "feature"), [(GoingOn, "resume"), (Scaled, "scaler")])
def test_features_of_other_trainings(kind: type[Toy], feature: str, runs: Runs) -> None:
    found = compare(runs(kind), runs(kind), plain_case(features=[feature]))
    assert found.outcome is Outcome.IDENTICAL, found.reasons


class Still(Small):
    """Nothing is clipped, evaluated, saved, accumulated or scheduled."""

    window = 1
    eval_every = save_every = 99
    limit = 1e9

    def groups(self) -> list[dict[str, Any]]:
        return [{"params": list(self.model.parameters())}]

    def factor(self, step: int) -> float:
        return 1.0

    def make_model(self) -> nn.Module:
        model = super().make_model()
        model.block.dropout = nn.Identity()
        model.batch_norm = nn.Identity()
        return model


@pytest.mark.parametrize("feature", [*FEATURES, "partial_window", "resume", "scaler"])
def test_a_feature_that_was_never_active_is_vacuous(feature: str, runs: Runs) -> None:
    found = compare(runs(Still), runs(Still), plain_case(features=[feature]))
    assert found.outcome is Outcome.VACUOUS
    assert found.reasons == (f"feature {feature}: never active in the reference and the candidate",)


def test_a_second_optimizer_is_no_partial_window(runs: Runs) -> None:
    """It takes its steps without a backward pass of its own."""

    class Dual(Constrained):
        steps, dual_start = 4, 2

    found = compare(runs(Dual), runs(Dual), plain_case(features=["partial_window"]))
    assert found.reasons == ("feature partial_window: never active in the reference and the candidate",)


def test_a_window_that_an_epoch_ends_is_partial(runs: Runs) -> None:
    class Epoch(Small):
        steps = 7

    found = compare(runs(Epoch), runs(Epoch), plain_case(features=["partial_window"]))
    assert found.outcome is Outcome.IDENTICAL, found.reasons


class NoRate(Small):
    rate = 0.0


class NoLoss(Small):
    def shared(self, loss: Any, batch: Any, window: Any) -> Any:
        return loss * 0.0


@pytest.mark.parametrize(
    ("kind", "case", "guard"),
    [
        pytest.param(Small, {"steps": 5}, "steps: 4 steps, at least 5 are asked", id="too few steps"),
        pytest.param(NoRate, {}, "changed: 0 of 10 trainable tensors changed, 90% are asked", id="nothing changed"),
        pytest.param(NoLoss, {}, "gradients: 0 of 10 trainable tensors had a gradient", id="no gradients"),
    ],
)
def test_too_little_happened(kind: type[Toy], case: dict[str, Any], guard: str, runs: Runs) -> None:
    found = compare(runs(kind), runs(kind), plain_case(**case))
    assert found.outcome is Outcome.VACUOUS
    assert any(reason.startswith(guard) for reason in found.reasons), found.reasons


def test_code_must_come_from_where_the_case_says(runs: Runs, tmp_path: Path) -> None:
    here = Path(__file__).parent
    side = Side(command=["x"], code=["."])
    own = dataclasses.replace(plain_case(), reference=side, folder=here)
    assert compare(runs(Small), runs(Small), own).outcome is Outcome.IDENTICAL
    other = dataclasses.replace(own, folder=tmp_path)
    found = compare(runs(Small), runs(Small), other)
    assert found.outcome is Outcome.VACUOUS
    assert "toys.py is not below" in found.reasons[0]


def test_another_environment_is_inconclusive(runs: Runs) -> None:
    one = runs(Small)
    header = {**one.header, "fingerprint": {**one.header["fingerprint"], "num_threads": 7}}
    found = compare(one, dataclasses.replace(one, header=header), plain_case())
    assert found.outcome is Outcome.INCONCLUSIVE
    assert "num_threads: 1 (int) and 7 (int)" in found.reasons[0]


def test_another_level_is_inconclusive(runs: Runs, tmp_path: Path) -> None:
    light = Small(tmp_path).record(tmp_path / "light.trace", level="light")
    found = compare(runs(Small), light, plain_case())
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.divergences == ()


def test_without_its_map_a_renamed_model_differs_and_a_map_is_proposed(runs: Runs) -> None:
    make, names = REFACTORINGS["modules have other names"]
    found = compare(runs(Small), runs(make(Small)), plain_case())
    assert found.outcome is Outcome.DIFFERENT
    assert found.first is not None
    assert found.first.channel == "names"
    assert "inputs.weight: stem.0.weight" in found.notes[-1]
    assert names


@pytest.mark.parametrize(
    ("candidate", "patterns", "problem"),
    [
        pytest.param(["m.a", "m.b"], {"(.*)": r"m.\1"}, None, id="bijection"),
        pytest.param(["m.a"], {"(.*)": r"m.\1"}, "the candidate has no m.b (for b)", id="one is missing"),
        pytest.param(["a", "b", "c"], {}, "the reference has no counterpart for c", id="one too many"),
        pytest.param(["a"], {"b": "a"}, "'a' and 'b' of the reference are both 'a'", id="two to one"),
        pytest.param(["a", "b"], {"q": "r"}, "no name of the reference fits the pattern 'q'", id="unused pattern"),
    ],
)
def test_matching_names(candidate: list[str], patterns: dict[str, str], problem: str | None) -> None:
    found = match(["a", "b"], candidate, patterns)
    assert (found.problems == ()) == (problem is None)
    assert problem is None or any(one.startswith(problem) for one in found.problems), found.problems


def test_a_map_is_proposed_by_content_before_form() -> None:
    reference = [Tensor("a", "f[2]", "1"), Tensor("b", "f[2]", "2"), Tensor("c", "f[3]", "3"), Tensor("d", "f[9]", "4")]
    candidate = [Tensor("x", "f[2]", "2"), Tensor("y", "f[2]", "1"), Tensor("z", "f[3]", "9")]
    assert propose(reference, candidate) == {"a": "y", "b": "x", "c": "z"}


def test_generators_that_nobody_uses_need_no_seed(tmp_path: Path) -> None:
    def run(seed: int) -> Path:
        import random

        path = tmp_path / f"{seed}.trace"
        with tracing(path):
            random.seed(seed)
            torch.manual_seed(0)
            model = nn.Linear(2, 1)
            optimizer = AdamW(model.parameters())
            for _ in range(3):
                optimizer.zero_grad()
                model(torch.randn(4, 2)).sum().backward()
                optimizer.step()
        return path

    one, other = run(1), run(2)
    done = call(one, other)
    assert done.exit_code == 0, done.output


class OtherForm(Small):
    """Saves the same under other names, and something else."""

    def save(self, name: str) -> None:
        state = self.state()
        moments = {
            f"{number}.{key}": value for number, of in state["optimizer"]["state"].items() for key, value in of.items()
        }
        torch.save({"weights": state["model"], "moments": moments, "host": "here"}, self.folder / name)


class OtherFormAndContent(OtherForm):
    """Saves the weights of another moment."""

    def state(self) -> dict[str, Any]:
        state = super().state()
        state["model"] = {key: torch.zeros_like(value) for key, value in state["model"].items()}
        return state


SAME = Checkpoints(
    names={r"model\.(.*)": r"weights.\1", r"optimizer\.state\.(.*)": r"moments.\1"},
    only=r"(weights|moments)\..*",
    reason="the rest is written otherwise",
)


@pytest.mark.parametrize(
    ("kind", "rules", "outcome"),
    [
        pytest.param(OtherForm, Checkpoints(), Outcome.DIFFERENT, id="every key"),
        pytest.param(OtherForm, SAME, Outcome.IDENTICAL, id="mapped"),
        pytest.param(OtherFormAndContent, SAME, Outcome.DIFFERENT, id="mapped, and other content"),
        pytest.param(
            OtherFormAndContent, Checkpoints(ignore=True, reason="another format"), Outcome.IDENTICAL, id="ignored"
        ),
        pytest.param(
            OtherForm, dataclasses.replace(SAME, only="none"), Outcome.VACUOUS, id="a pattern that fits nothing"
        ),
        pytest.param(
            OtherForm,
            dataclasses.replace(SAME, names={".*": "weights.all"}),
            Outcome.DIFFERENT,
            id="all under one name",
        ),
    ],
)
def test_checkpoints_under_other_names(kind: type[Toy], rules: Checkpoints, outcome: Outcome, runs: Runs) -> None:
    found = compare(runs(Small), runs(kind), plain_case(checkpoints=rules))
    assert found.outcome is outcome, found.reasons
    if outcome is Outcome.DIFFERENT:
        assert {one.channel for one in found.divergences} == {"checkpoint"}


class ByName(Small):
    """Saves the state of the optimizer by the names of its parameters, and does so more often."""

    save_every = 1

    def state(self) -> dict[str, Any]:
        names = {id(parameter): name for name, parameter in self.model.named_parameters()}
        state = {names[id(parameter)]: value for parameter, value in self.optimizer.state.items()}
        return {"model": self.model.state_dict(), "moments": {"state": state}}


class ByNameOfAnother(ByName):
    def state(self) -> dict[str, Any]:
        found = super().state()
        state = found["moments"]["state"]
        state["head.bias"], state["block.linear.bias"] = state["block.linear.bias"], state["head.bias"]
        return found


SHARED = Checkpoints(
    names={r"optimizer\.(state\..*)": r"moments.\1"},
    only=r"(model|moments\.state)\..*",
    moments="shared",
    reason="the candidate saves after each step",
)


@pytest.mark.parametrize(
    ("kind", "rules", "outcome"),
    [
        pytest.param(ByName, SHARED, Outcome.IDENTICAL, id="numbers and names"),
        pytest.param(ByNameOfAnother, SHARED, Outcome.DIFFERENT, id="the state of another parameter"),
        pytest.param(ByName, dataclasses.replace(SHARED, moments="all"), Outcome.DIFFERENT, id="all moments"),
    ],
)
def test_checkpoints_of_other_moments(kind: type[Toy], rules: Checkpoints, outcome: Outcome, runs: Runs) -> None:
    found = compare(runs(Small), runs(kind), plain_case(checkpoints=rules))
    assert found.outcome is outcome, found.reasons
    assert any(one.channel == "checkpoint" and one.compared > 40 for one in found.channels)


def test_no_shared_moment_is_vacuous(runs: Runs) -> None:
    class Late(Small):
        def save(self, name: str) -> None:
            if self.step == 1:
                super().save(name)

        eval_every, save_every = 99, 1

    class Later(Small):
        eval_every, save_every = 99, 3

    found = compare(runs(Late), runs(Later), plain_case(checkpoints=SHARED))
    assert found.reasons == ("checkpoints: 0 entries of checkpoints are compared",)
    assert found.outcome is Outcome.VACUOUS


def test_another_run_of_the_reference_has_its_names_in_checkpoints(runs: Runs) -> None:
    case = plain_case(checkpoints=SAME)
    assert compare(runs(Small), runs(Small), case, own=True).outcome is Outcome.IDENTICAL
    assert compare(runs(Small), runs(Small), case).outcome is not Outcome.IDENTICAL


def test_ignoring_checkpoints_that_nobody_writes_is_vacuous(runs: Runs) -> None:
    class Silent(Small):
        def save(self, name: str) -> None:
            pass

    case = plain_case(checkpoints=Checkpoints(ignore=True, reason="another format"))
    assert compare(runs(Silent), runs(Silent), case).outcome is Outcome.VACUOUS
    assert compare(runs(Silent), runs(Small), plain_case()).outcome is Outcome.DIFFERENT


def call(*args: object) -> Result:
    return CliRunner().invoke(main, ["verify", "compare", *map(str, args)])


def test_the_command_and_its_reports(runs: Runs, tmp_path: Path) -> None:
    one, other = runs(Small).path, runs(Faster).path
    files = [tmp_path / name for name in ("r.html", "r.json", "r.xml")]
    done = call(one, other, "--html", files[0], "--json", files[1], "--junit", files[2])
    assert done.exit_code == 1
    assert "first difference: step 3, hyper: hyper group 1 lr" in done.output
    assert json.loads(files[1].read_text())["verdicts"][0]["first"]["phase"] == "hyper"
    assert call(one, one, "--min-steps", 5).exit_code == 4
    assert call(one, one, "--map", "nothing").exit_code == 2
    assert call(one, tmp_path / "none").exit_code == 2
    assert call(one, files[1]).exit_code == 2
    assert "::error title=verify" in call(one, other, "--format", "github").output


class Idle(Toy):
    """Has a parameter that never gets a gradient."""

    steps = 4

    def make_model(self) -> nn.Module:
        model = super().make_model()
        model.idle = nn.Parameter(torch.zeros(2))
        return model


class Sparing(Idle):
    """Gives no parameter without a gradient to clipping; from a step on one more has none."""

    spoiled: ClassVar[bool] = False

    def clip(self) -> None:
        if self.hit:
            self.model.inputs.bias.grad = None
        named = self.model.named_parameters()
        left = [one for name, one in named if name != "idle" and not (self.spoiled and name == "head.bias")]
        nn.utils.clip_grad_norm_(left, self.limit)


class Spoiled(Sparing):
    """Leaves a parameter with a gradient out."""

    spoiled = True


def test_a_gradient_that_is_missing_is_no_matter_of_clipping(tmp_path: Path) -> None:
    reference = Idle(tmp_path).record(tmp_path / "run.trace")
    for kind, at, first in ((Sparing, 0, None), (Sparing, 3, (3, "backward")), (Spoiled, 0, (1, "clip"))):
        found = compare(reference, kind(tmp_path, at).record(tmp_path / "other.trace"), plain_case()).first
        assert (found and (found.step, found.phase)) == first, found


class Quick(Small):
    """Puts modes back one by one, which no hook sees."""

    stuck: ClassVar[bool] = False

    def evaluate(self) -> None:
        modes = [(module, module.training) for module in self.model.modules()]
        self.model.eval()
        with torch.no_grad():
            self.report("loss", self.metric())
        for module, training in modes:
            module.training = training and not (self.hit and self.stuck)


class Stuck(Quick):
    """Does not."""

    stuck = True


def test_a_model_that_stays_in_evaluation_mode_is_found_in_the_next_step(tmp_path: Path) -> None:
    pair = [kind(tmp_path, 2).record(tmp_path / "run.trace") for kind in (Quick, Stuck)]
    first = compare(pair[0], pair[1], plain_case()).first
    assert first is not None
    assert (first.step, first.phase) == (3, "mode"), first


class ByParts(Small):
    """Calls the parts of the model, one after the other."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        model: Any = self.model
        return model.head(model.block(model.batch_norm(model.inputs(features))))  # type: ignore[no-any-return]


class Ahead(Small):
    """Draws for all micro-batches of a step before the first one."""

    def update(self, window: list[Any]) -> None:
        self.prepared = [Small.augment(self, batch) for batch in window]
        super().update(window)

    def augment(self, batch: Any) -> Any:
        return self.prepared.pop(0)


class AheadWithMore(Ahead):
    window = 3


class AheadWithOneDraw(Ahead):
    def reset(self) -> None:
        super().reset()
        torch.rand(1)


@pytest.mark.parametrize(
    ("kind", "phase"), [(Ahead, None), (AheadWithMore, "backward"), (AheadWithOneDraw, "rng")], ids=lambda one: str(one)
)
def test_more_passes_in_a_step_are_why_more_is_drawn(kind: type[Toy], phase: str | None, runs: Runs) -> None:
    """Also where a side calls the model in another way, and one draws for all passes before the first."""
    found = compare(runs(ByParts), runs(kind), plain_case()).first
    assert (found and found.phase) == phase
    assert found is None or found.step == 1


class ClippedTwice(Small):
    """Clips after each micro-batch."""

    def micro_step(self, batch: Any, window: list[Any], number: int) -> None:
        super().micro_step(batch, window, number)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 0.2 if self.step != self.at or number else 0.1)

    def clip(self) -> None:
        pass


def test_a_norm_after_another_clip_comes_from_it(tmp_path: Path) -> None:
    pair = [ClippedTwice(tmp_path, at).record(tmp_path / f"{at}.trace") for at in (0, 2)]
    found = compare(*pair, plain_case())
    assert found.first is not None
    assert (found.first.step, found.first.phase, found.first.key) == (2, "clip", "1 max_norm")
    assert not [one for one in found.divergences if (one.step, one.channel) == (2, "norm")]
