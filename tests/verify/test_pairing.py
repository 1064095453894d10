"""Models that the sides call in other ways: what is the same is known by content, and a fault is put where it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from migrate.verify.cases import plain_case
from migrate.verify.compare import compare
from migrate.verify.pairing import Pairing
from migrate.verify.trace.reader import Step, Trace
from migrate.verify.verdict import Outcome
from tests.verify.toys import Toy

Runs = Callable[[type[Toy]], Trace]
AT = 3


class Small(Toy):
    steps = 4
    eval_every = save_every = 99


class Parts(Small):
    """Calls the parts of the model, not the model."""

    def forward(self, features: Tensor) -> Tensor:
        model = self.model
        return model.head(model.block(model.batch_norm(model.inputs(features))))


class Precomputing(Small):
    """Has a frozen part whose output it gets from a module of its own once, as from a file."""

    def make_model(self) -> nn.Module:
        model = super().make_model()
        model.frozen = nn.BatchNorm1d(2, affine=False)
        return model

    def update(self, window: list[Any]) -> None:
        if self.step == 1:
            with torch.no_grad():
                self.model.frozen.eval()(torch.ones(1, 2))
        super().update(window)


class OtherForward(Parts):
    def forward(self, features: Tensor) -> Tensor:
        model = self.model
        hidden = model.block(model.batch_norm(model.inputs(features)))
        return model.head(hidden * 1.001 if self.step == AT else hidden)


class OtherLoss(Parts):
    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return super().loss(outputs, labels) * (1.001 if self.step == AT else 1.0)


class OtherData(Parts):
    def augment(self, batch: Any) -> Any:
        features, labels = super().augment(batch)
        return (features * 1.001 if self.step == AT else features), labels


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder, known = tmp_path_factory.mktemp("runs"), dict[type[Toy], Trace]()

    def run(kind: type[Toy]) -> Trace:
        if kind not in known:
            known[kind] = kind(folder).record(folder / f"{len(known)}.trace", level="full")
        return known[kind]

    return run


def test_parts_of_a_model_are_no_difference(runs: Runs) -> None:
    found = compare(runs(Small), runs(Parts), plain_case())
    assert found.outcome is Outcome.IDENTICAL, found.reasons
    assert any("models are called in another way: 2 and 8 in step 1" in note for note in found.notes)
    assert any(
        note.startswith("outputs of models differ in form") and note.endswith("2 in a step") for note in found.notes
    )
    compared = {one.channel: one.compared for one in found.channels}
    assert compared["outputs"] >= 3 * 2
    assert compared["inputs"] >= 3 * 2


def test_calls_of_what_only_one_side_has_are_left_out(runs: Runs) -> None:
    lone = plain_case(only_candidate={r"frozen\..*": "the other side reads what it gave from a file"})
    found = compare(runs(Small), runs(Precomputing), lone)
    assert found.outcome is Outcome.IDENTICAL, found.reasons
    assert not any("called in another way" in note for note in found.notes)
    assert compare(runs(Small), runs(Precomputing), plain_case()).outcome is Outcome.DIFFERENT


@pytest.mark.parametrize(
    ("kind", "phase"), [(OtherForward, "forward"), (OtherLoss, "loss"), (OtherData, "data")], ids=lambda one: str(one)
)
def test_a_fault_is_in_its_phase(kind: type[Toy], phase: str, runs: Runs) -> None:
    found = compare(runs(Small), runs(kind), plain_case())
    assert found.first is not None
    assert (found.first.step, found.first.phase) == (AT, phase), found.first


def step(inputs: list[str], outputs: list[list[str]]) -> Step:
    calls = [{"entry": 0, "input_tensors": inputs, "output_tensors": one} for one in outputs]
    return Step(forwards=calls, phases=["forward:0"] * len(calls))


def test_what_agreed_by_chance_is_forgotten() -> None:
    """A mask that was all ones once, and the same content twice, tell nothing."""
    pairing = Pairing("outputs")
    assert pairing.compare(step(["x"], [["a", "ones", "b", "b"]]), step(["x"], [["ones", "a"], ["b"]]), True) == [
        {},
        {},
    ]
    assert pairing.num_known == 2
    later = step(["y"], [["c", "mask", "d", "e"]]), step(["y"], [["ones", "c"], ["d"]])
    assert pairing.compare(*later, True) == [{"call 1 tensor 1": "c"}] * 2
    last = step(["z"], [["f", "m", "g", "h"]]), step(["z"], [["o", "other"], ["g"]])
    assert pairing.compare(*last, False) == [{"call 1 tensor 1": "f"}, {"call 1 tensor 1": "other"}]


def test_other_calls_are_not_compared_with_what_is_known_of_these() -> None:
    pairing = Pairing("outputs")
    pairing.compare(step(["x"], [["a"]]), step(["x"], [["b", "a"]]), True)
    assert pairing.compare(step(["x"], [["a"]]), step(["x"], [["b", "c"], ["d"]]), False) == [{}, {}]


def test_only_what_goes_into_the_first_call_of_a_batch_is_compared() -> None:
    """What goes into later ones may have come out of it."""
    calls = [{"entry": entry, "input_tensors": [name]} for entry, name in ((1, "a"), (0, "b"), (1, "c"), (0, "d"))]
    phases = ["forward:1", "batch:0", "forward:0", "forward:1", "backward", "forward:0", "backward"]
    pairing = Pairing("inputs")
    pairing.compare(Step(forwards=calls, phases=phases), Step(forwards=calls, phases=phases), True)
    assert pairing.num_known == 3
