"""Metrics: their names on both sides, the moment at which they are reported, and what must be noticed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from migrate.verify.cases import Metrics, Side, plain_case
from migrate.verify.compare import compare
from migrate.verify.trace.reader import Trace
from migrate.verify.verdict import Outcome
from tests.verify.toys import Toy

Runs = Callable[[type[Toy]], Trace]


class Small(Toy):
    """Reports a loss after steps 2 and 4, and a score at the end."""

    steps = 4
    eval_every = 2
    save_every = 99

    def finish(self) -> None:
        self.report("score", 0.5)

    def improves(self, value: float) -> bool:
        return False


class Renamed(Small):
    def report(self, name: str, value: float) -> None:
        super().report(f"eval/{name}", value)


class Late(Small):
    """Reports when the model is in training mode again."""

    def evaluate(self) -> None:
        self.kept: list[tuple[str, float]] = []
        super().evaluate()
        for name, value in self.kept:
            super().report(name, value)

    def report(self, name: str, value: float) -> None:
        if self.model.training:
            super().report(name, value)
        else:
            self.kept.append((name, value))


class ByBatch(Small):
    """Gives each batch the same weight; the last one is smaller."""

    def metric(self) -> float:
        losses = [self.loss(self.model(features), labels).item() for features, labels in self.eval_loader]
        return sum(losses) / len(losses)


class Twice(Small):
    """Reports another value first."""

    def report(self, name: str, value: float) -> None:
        if self.step == 4:
            super().report(name, value + 1)
        super().report(name, value)


class TwiceTheSame(Small):
    def report(self, name: str, value: float) -> None:
        if self.step == 4:
            super().report(name, value)
        super().report(name, value)


class AnotherEnd(Small):
    def finish(self) -> None:
        self.report("score", 0.25)


class More(Small):
    def report(self, name: str, value: float) -> None:
        super().report(name, value)
        super().report("seconds", self.step * 1.5)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder, known = tmp_path_factory.mktemp("runs"), dict[type[Toy], Trace]()

    def run(kind: type[Toy]) -> Trace:
        if kind not in known:
            known[kind] = kind(folder).record(folder / f"{len(known)}.trace")
        return known[kind]

    return run


def test_names_are_mapped(runs: Runs) -> None:
    assert compare(runs(Small), runs(Renamed), plain_case()).outcome is Outcome.DIFFERENT
    case = plain_case(metrics=Metrics(names={"(.*)": r"eval/\1"}))
    found = compare(runs(Small), runs(Renamed), case)
    assert found.outcome is Outcome.IDENTICAL, found.reasons
    assert [one.compared for one in found.channels if one.channel == "metrics"] == [3]


def test_a_map_that_does_not_fit_is_told(runs: Runs) -> None:
    found = compare(runs(Small), runs(Renamed), plain_case(metrics=Metrics(names={"los": "eval/loss"})))
    assert found.outcome is Outcome.DIFFERENT
    assert any("metrics: no name of the reference fits the pattern 'los'" in note for note in found.notes)


def test_when_the_mode_is_put_back_does_not_count(runs: Runs) -> None:
    found = compare(runs(Small), runs(Late), plain_case())
    assert found.outcome is Outcome.IDENTICAL, found.reasons


@pytest.mark.parametrize(
    ("kind", "step", "key"),
    [
        pytest.param(ByBatch, 2, "loss", id="another weighting of batches"),
        pytest.param(Twice, 4, "loss", id="a value that is reported before another"),
        pytest.param(TwiceTheSame, 4, "loss (2)", id="a value that is reported again"),
        pytest.param(AnotherEnd, 4, "score", id="after the last step"),
    ],
)
def test_another_metric_is_found(kind: type[Toy], step: int, key: str, runs: Runs) -> None:
    found = compare(runs(Small), runs(kind), plain_case())
    assert found.outcome is Outcome.DIFFERENT
    assert found.first is not None
    assert (found.first.step, found.first.phase, found.first.key) == (step, "evaluation", key)
    assert [one.channel for one in found.channels if one.different] == ["metrics"]


def test_what_only_one_side_reports_needs_a_reason(runs: Runs) -> None:
    assert compare(runs(Small), runs(More), plain_case()).outcome is Outcome.DIFFERENT
    lone = plain_case(metrics=Metrics(only_candidate={"seconds": "a clock"}))
    assert compare(runs(Small), runs(More), lone).outcome is Outcome.IDENTICAL
    stale = compare(runs(Small), runs(Small), lone)
    assert stale.outcome is Outcome.VACUOUS
    assert stale.reasons == ("metrics only in the candidate: 0 metrics fit 'seconds': a clock",)


def test_metrics_that_are_named_must_be_compared(runs: Runs) -> None:
    side = Side(command=["x"], metrics=["package:evaluate"])
    lone = Metrics(only_reference={".*": "left out"}, only_candidate={".*": "left out"})
    case = dataclasses.replace(plain_case(metrics=lone), reference=side, candidate=side)
    found = compare(runs(Small), runs(Small), case)
    assert found.outcome is Outcome.VACUOUS
    assert found.reasons == ("metrics: 0 metrics that both sides have",)
    assert compare(runs(Small), runs(Small), dataclasses.replace(case, metrics=Metrics())).outcome is Outcome.IDENTICAL


def test_against_itself_maps_are_left_out(runs: Runs) -> None:
    case = plain_case(metrics=Metrics(names={"loss": "eval/loss"}, only_reference={"score": "why"}))
    assert compare(runs(Small), runs(Small), case.against_itself()).outcome is Outcome.IDENTICAL
