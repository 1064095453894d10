"""Replays of the first step that differs, from checkpoints of ``pairs/long``, in real processes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from migrate.verify import replay
from migrate.verify.case_files import load_case
from migrate.verify.cases import Side
from migrate.verify.replay import Own, apart_of, localised
from migrate.verify.run import judged
from migrate.verify.runner import Recorded, Runner
from migrate.verify.saved import Saved, saved_by
from migrate.verify.trace.reader import Checkpoint, Trace
from migrate.verify.verdict import Verdict
from migrate.verify.views import View
from tests.verify.toys import Toy

FILE = Path(__file__).parent / "pairs" / "long.yaml"
NAMES = ("reference", "candidate")
AT = 33
Replay = Callable[..., Verdict]


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> tuple[Runner, dict[str, Recorded]]:
    """Return both sides recorded, the candidate with a fault in one module from a step on."""
    case = load_case(FILE)
    wrong = dataclasses.replace(case.candidate, environment={"FAULT": f"constant@{AT}"})
    runner = Runner(dataclasses.replace(case, candidate=wrong), 0, tmp_path_factory.mktemp("runs"))
    return runner, {name: runner.record(name, getattr(runner.case, name)) for name in NAMES}


@pytest.fixture
def replayed(traced: tuple[Runner, dict[str, Recorded]]) -> Replay:
    """Replay the step, with sides that are changed after they were recorded."""

    def replayed(**changed: Side) -> Verdict:
        runner, runs = traced
        verdict = judged(runner.case, runs["reference"], runs["candidate"])
        assert verdict.first is not None
        assert (verdict.first.step, verdict.first.phase) == (AT, "forward")
        runner = dataclasses.replace(runner, case=dataclasses.replace(runner.case, **changed))
        owns = [
            Own(
                name,
                getattr(runner.case, name),
                run.trace,
                saved_by(getattr(runner.case, name), run.out, run.trace),
                1.0,
            )
            for name, run in runs.items()
        ]
        return localised(runner, verdict, owns)

    return replayed


def changed(side: Side, **options: Any) -> Side:
    return dataclasses.replace(side, **options)


def deep_outs(traced: tuple[Runner, dict[str, Recorded]]) -> dict[str, bool]:
    """Return which replays came to the end of the training."""
    return {name: (traced[0].folder / f"deep_{name}.out" / "end").exists() for name in NAMES}


def assert_found(verdict: Verdict) -> None:
    found = verdict.localised
    assert found is not None
    assert (found.module, found.apart is not None) == ("norm", True), found
    assert found.apart is not None
    assert (found.apart.form, found.apart.num_different, found.apart.first_index) == ("float32[4, 8]", 32, (0, 0))
    # A constant of 1e-3 in place of 1e-5 beside a variance of about one.
    assert found.error == found.apart.relative
    assert 1e-4 < found.apart.relative < 1e-2
    assert found.apart.max_ulp is not None
    assert found.apart.max_ulp > 1e3


@pytest.mark.slow
def test_both_sides_go_on_from_their_last_checkpoint(traced: Any, replayed: Replay) -> None:
    verdict = replayed()
    assert_found(verdict)
    for name in NAMES:
        assert f"{name}: step 33 was replayed from step_030.pt, after step 30" in verdict.notes
    assert deep_outs(traced) == {"reference": False, "candidate": False}
    errors = {one.key: one.error for one in verdict.divergences if one.channel == "parameters"}
    assert errors
    assert all(error is not None and 0 < error < 1 for error in errors.values())
    series = {one.name: one.steps for one in verdict.drift}
    assert series["parameters"] == (AT,)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["optimizer", "generator", "crash"])
def test_a_broken_resume_is_told_and_not_used(how: str, traced: Any, replayed: Replay) -> None:
    verdict = replayed(reference=changed(traced[0].case.reference, environment={"BROKEN": how}))
    assert_found(verdict)
    (note,) = [note for note in verdict.notes if note.startswith("reference: resumed from step_030.pt, after step 30")]
    assert "it was replayed from the start, and this resume counts for nothing" in note
    assert "candidate: step 33 was replayed from step_030.pt, after step 30" in verdict.notes
    assert verdict.first is not None
    assert (verdict.first.step, verdict.first.phase) == (AT, "forward")


@pytest.mark.slow
def test_a_checkpoint_of_another_step_than_its_name_says_is_noticed(traced: Any, replayed: Replay) -> None:
    runner, runs = traced
    side = changed(runner.case.reference, checkpoint_steps=2)
    wrong = [one for one in saved_by(side, runs["reference"].out) if one.step < AT]
    assert [one.step for one in wrong] == [20]
    verdict = replayed(reference=side)
    # The trace knows better than the name.
    assert "reference: step 33 was replayed from step_030.pt, after step 30" in verdict.notes
    assert_found(verdict)


@pytest.mark.slow
@pytest.mark.parametrize("limit", [0.0, 60.0], ids=["long", "short"])
def test_without_resume_only_short_runs_go_on_to_the_end(
    limit: float, traced: Any, replayed: Replay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "WHOLE_S", limit)
    verdict = replayed(**{name: changed(getattr(traced[0].case, name), resume=[]) for name in NAMES})
    assert_found(verdict)
    assert deep_outs(traced) == dict.fromkeys(NAMES, limit > 0)
    told = "the replays ended after step 33, so the drift of tensors is not drawn beyond it"
    assert (told in verdict.notes) == (limit == 0)


class Generated(Toy):
    """Its loader draws from a generator of its own."""

    def make_loaders(self) -> tuple[Any, Any]:
        loader, held_out = super().make_loaders()
        generator = torch.Generator().manual_seed(0)
        return DataLoader(loader.dataset, batch_size=4, shuffle=True, generator=generator), held_out


@pytest.mark.parametrize(
    ("change", "phase"),
    [
        pytest.param({}, None, id="the same"),
        pytest.param({"rng": {"torch": {"digest": "x"}}}, "rng", id="another draw"),
        # A loader that skips the batches of before draws otherwise, and gives the same.
        pytest.param({"rng": {"loader:0": {"digest": "x"}}}, None, id="generator of a loader"),
        pytest.param({"losses": ["0x1p+0", "0x1p+1"]}, "loss", id="loss"),
        pytest.param({"roots": {}, "tensors": {"state": {"head.bias.exp_avg": "x"}}}, "update", id="state lost"),
        pytest.param({"metrics": [["score", "0x1p+0"]]}, None, id="evaluated before it was stopped"),
    ],
)
def test_what_a_replay_must_repeat(change: dict[str, Any], phase: str | None, tmp_path: Path) -> None:
    trace = Generated(tmp_path).record(tmp_path / "run.trace", level="full")
    step = trace.steps[3]
    mixed = {
        key: {**getattr(step, key), **value} if isinstance(value, dict) else value for key, value in change.items()
    }
    assert {"torch", "loader:0"} <= View(trace).generators()
    found = replay._first_difference(4, (trace, step), (trace, dataclasses.replace(step, **mixed)))
    assert (found and found.phase) == phase


def test_steps_of_checkpoints(tmp_path: Path) -> None:
    for name in ("step_7.pt", "last.pt", "other.txt", "epoch_2/model.pt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    def found(pattern: str, **options: Any) -> list[tuple[int, str]]:
        side = Side(command=["x"], checkpoints=pattern, **options)
        return [(one.step, one.path.name) for one in saved_by(side, tmp_path, trace)]

    trace: Trace | None = None
    assert found(r"step_(\d+)\.pt") == [(7, "step_7.pt")]
    assert found(r".*\.pt") == []
    assert found(r"epoch_(\d+)", checkpoint_steps=50) == [(100, "epoch_2")]
    saves = [
        Checkpoint(0, 3, "last.pt", "", {}),
        Checkpoint(1, 9, "last.pt", "", {}),
        Checkpoint(2, 8, "step_7.pt", "", {}),
    ]
    trace = Trace(tmp_path, {}, checkpoints=saves)
    # A file that was written again is of the last time.
    assert found(r".*\.pt") == [(8, "step_7.pt"), (9, "last.pt")]
    assert max(saved_by(Side(command=["x"], checkpoints=r".*\.pt"), tmp_path, trace)) == Saved(9, tmp_path / "last.pt")


def test_how_far_values_are_apart() -> None:
    same, one = torch.ones(3), torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    other = one + torch.tensor([[0.0, 0.0], [0.5, 0.0]])
    found = apart_of("output", [same, one], [same, other])
    assert found is not None
    assert str(found) == (
        "output 2 of 2 float32[2, 2]: 1 of 4 elements differ, relative error 0.0913, at most 2.1e+06 ULP, "
        "the first at [1, 0]: 3.0 and 3.5"
    )
    shapes = apart_of("gradient", [one], [one[0]])
    assert str(shapes) == "gradient float32[2, 2]: float32[2, 2] and float32[2]"
    assert apart_of("output", [one], [one.clone()]) is None
