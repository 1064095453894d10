"""``verify bisect`` on runs of ``pairs/long``, in real processes."""

from __future__ import annotations

import dataclasses
import datetime
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from click.testing import CliRunner, Result

from migrate.cli import main
from migrate.verify.bisect import bisect_case
from migrate.verify.case_files import load_case
from migrate.verify.checkpoint_pairs import search_checkpoints
from migrate.verify.checkpoints import CheckpointReport
from migrate.verify.children import pinned_environment
from migrate.verify.phases import CHANNELS
from migrate.verify.structures import Change
from migrate.verify.verdict import Outcome, Verdict
from migrate.verify.waivers import Waiver

PAIRS = Path(__file__).parent / "pairs"
FILE = PAIRS / "long.yaml"
Runs = Callable[[str], Path]
Bisect = Callable[..., Verdict]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Return what a run has left, by its fault; that of the reference is called so."""
    found: dict[str, Path] = {}

    def run(fault: str) -> Path:
        if fault not in found:
            found[fault] = tmp_path_factory.mktemp("run")
            command = [sys.executable, "train.py", "--out", str(found[fault])]
            command += ["--new"] if fault != "reference" else []
            variables = {} if fault == "reference" else {"FAULT": fault}
            subprocess.run(command, cwd=PAIRS / "long", env=pinned_environment(1, variables), check=True)
        return found[fault]

    return run


@pytest.fixture
def bisect(runs: Runs, tmp_path: Path) -> Bisect:
    """Search runs that are there, of a candidate with a fault and sides whose resume is broken.

    Options are those of both sides; waivers are of the case.
    """

    def bisect(
        fault: str, reference: str = "", candidate: str = "", waivers: Sequence[Waiver] = (), **options: Any
    ) -> Verdict:
        case = load_case(FILE)
        first = dataclasses.replace(case.reference, environment={"BROKEN": reference}, **options)
        second = dataclasses.replace(case.candidate, environment={"FAULT": fault, "BROKEN": candidate}, **options)
        case = dataclasses.replace(case, reference=first, candidate=second, waivers=list(waivers))
        return bisect_case(case, 0, tmp_path, (runs("reference"), runs(fault)))

    return bisect


def command(*args: object) -> Result:
    return CliRunner().invoke(main, ["verify", "bisect", *map(str, args)])


def place(verdict: Verdict) -> tuple[int, str] | None:
    return None if verdict.first is None else (verdict.first.step, verdict.first.phase)


@pytest.mark.parametrize("first", range(1, 9))
def test_the_search_reads_few_pairs(first: int) -> None:
    steps = [10 * number for number in range(1, 9)]

    def report(step: int) -> CheckpointReport:
        differs = (Change("a", "1", "2"),) if step >= first * 10 else ()
        return CheckpointReport("a", "b", ("", ""), 1, 0, (), differs)

    found = search_checkpoints(steps, report)
    assert found.first_different == first * 10
    assert found.last_equal == (first * 10 - 10 or None)
    assert len(found.reports) <= 2 + 3
    assert list(found.reports)[:2] == [80, 10]


@pytest.mark.slow
def test_both_sides_are_run_untraced_and_an_interval_is_traced(tmp_path: Path) -> None:
    case = yaml.safe_load(FILE.read_text())
    case["candidate"]["environment"] = {"FAULT": "constant@33"}
    shutil.copytree(PAIRS / "long", tmp_path / "long")
    (tmp_path / "case.yaml").write_text(yaml.safe_dump(case))
    done = command(tmp_path / "case.yaml", "--keep", tmp_path / "kept")
    assert done.exit_code == 1, done.output
    assert "first difference: step 33, forward: outputs" in done.stdout
    assert "module norm: its inputs agree and its output differs" in done.stdout
    assert "output float32[4, 8]: 32 of 32 elements differ, relative error 0.00" in done.stdout
    assert "of 6 pairs of checkpoints 4 were compared: 60 different, 10 equal, 30 equal, 40 different" in done.stdout
    assert "steps 31 to 40 were traced, by both sides resumed from step 30" in done.stdout
    assert (
        "in step 31 the sides differ in what they read on the way from a checkpoint (data, data loader 1" in done.stdout
    )
    assert "candidate: step 33 was replayed from step_030.pt" in done.stdout
    # Only the untraced runs came to their end.
    ended = {path.parent.name for path in (tmp_path / "kept").rglob("end")}
    assert ended == {"reference.out", "candidate.out"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reference", "candidate", "told"),
    [
        pytest.param(
            "optimizer", "", "reference: its step_040.pt is not the one", id="reference without its optimizer"
        ),
        pytest.param(
            "", "generator", "candidate: its step_040.pt is not the one", id="candidate without its generator"
        ),
        pytest.param("", "crash", "candidate: ended with exit code 1: ValueError: cannot go on", id="crash"),
    ],
)
def test_a_broken_resume_is_no_difference(reference: str, candidate: str, told: str, bisect: Bisect) -> None:
    verdict = bisect("rate@37", reference, candidate)
    assert verdict.outcome is Outcome.DIFFERENT
    assert place(verdict) == (37, "hyper"), verdict.reasons
    (note,) = [note for note in verdict.notes if told in note]
    assert "says nothing about the other side; both were run from the start" in note


@pytest.mark.slow
def test_without_resume_both_run_from_the_start_and_end_after_the_interval(bisect: Bisect, tmp_path: Path) -> None:
    verdict = bisect("rate@37", resume=[])
    assert (verdict.outcome, place(verdict)) == (Outcome.DIFFERENT, (37, "hyper")), verdict.reasons
    assert (
        "the case has no 'resume' for the reference and the candidate, so both sides were run from the start"
        in verdict.notes
    )
    assert not list(tmp_path.rglob("end"))


def test_the_first_pair_differs_already(bisect: Bisect) -> None:
    verdict = bisect("rate@5")
    assert (verdict.outcome, place(verdict)) == (Outcome.DIFFERENT, (5, "hyper")), verdict.reasons
    assert "the first pair of checkpoints differs already, so both sides were run from the start" in verdict.notes


@pytest.mark.slow
def test_what_is_only_saved_is_told_as_that(bisect: Bisect) -> None:
    verdict = bisect("saved@33")
    assert (verdict.outcome, place(verdict)) == (Outcome.DIFFERENT, (40, "checkpoint"))
    assert verdict.first is not None
    assert verdict.first.key == "extra"


@pytest.mark.slow
def test_an_extra_draw_is_told_with_its_stack_and_numbers_may_count_tens(bisect: Bisect) -> None:
    verdict = bisect("draw@37", checkpoints=r"checkpoints/step_0(\d)0\.pt", checkpoint_steps=10)
    assert (verdict.outcome, place(verdict)) == (Outcome.DIFFERENT, (37, "rng")), verdict.reasons
    assert verdict.localised is not None
    assert "candidate: torch.rand at train.py:" in verdict.localised.detail
    assert verdict.localised.stack[0].endswith("Training.update")
    assert "candidate: step 37 was replayed from step_030.pt, after step 30" in verdict.notes


@pytest.mark.slow
def test_what_is_waived_hides_what_comes_later(bisect: Bisect) -> None:
    day = datetime.date.today()
    waivers = [Waiver(id=name, reason="known", channel=name, expires=day, first_step=35) for name in CHANNELS]
    verdict = bisect("rate@37", waivers=waivers)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert verdict.reasons[0].startswith("what differs in steps 31 to 40 is waived")
    # Steps of waivers are those of the whole run.
    late = [dataclasses.replace(one, first_step=38) for one in waivers]
    assert place(bisect("rate@37", waivers=late)) == (37, "hyper")


def test_runs_that_hold_the_same_need_no_process(runs: Runs, tmp_path: Path) -> None:
    outs = ("--reference-out", runs("reference"), "--candidate-out", runs(""))
    done = command(FILE, *outs, "--keep", tmp_path / "kept")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("long seed 0  identical")
    assert "the checkpoints of step 60 hold the same; what came after it was not compared" in done.stdout
    assert not list((tmp_path / "kept").rglob("*.trace"))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        pytest.param(("--only", "nothing"), "0 tensors are in both", id="nothing compared"),
        pytest.param(("--only", "extra"), "0 of 1 tensors of the reference changed", id="nothing trained"),
    ],
)
def test_what_says_nothing_is_vacuous(options: tuple[str, ...], reason: str, runs: Runs) -> None:
    done = command(FILE, "--reference-out", runs("reference"), "--candidate-out", runs(""), *options)
    assert done.exit_code == 4, done.output
    assert reason in done.stdout


def test_runs_that_cannot_be_searched(runs: Runs, tmp_path: Path) -> None:
    out = tmp_path / "out" / "checkpoints"
    out.mkdir(parents=True)
    reference = ("--reference-out", runs("reference"), "--candidate-out", tmp_path / "out")
    none = command(FILE, *reference)
    assert (none.exit_code, "candidate: nothing below" in none.output) == (2, True), none.output
    torch.save({"a": 1}, out / "step_015.pt")
    apart = command(FILE, *reference)
    assert apart.exit_code == 2
    assert (
        "no step has a checkpoint of both: the reference has 10, 20, 30, 40, 50, 60, the candidate 15" in apart.output
    )
    torch.save({"a": 1}, out / "step_15.pt")
    assert "two checkpoints of step 15" in command(FILE, *reference).output
    (out / "step_60.pt").write_bytes(b"nothing")
    (out / "step_15.pt").unlink()
    damaged = command(FILE, *reference)
    assert (damaged.exit_code, "cannot be read" in damaged.output) == (2, True), damaged.output


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"tolerance": {"reason": "noise"}}, "it has a tolerance", id="tolerance"),
        pytest.param({"candidate": {"command": ["x"]}}, "candidate.checkpoints: missing", id="no checkpoints"),
    ],
)
def test_cases_that_cannot_be_searched(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    (tmp_path / "long").mkdir()
    (tmp_path / "case.yaml").write_text(yaml.safe_dump(yaml.safe_load(FILE.read_text()) | changes))
    done = command(tmp_path / "case.yaml")
    assert done.exit_code == 2
    assert message in done.output


@pytest.mark.slow
def test_a_reference_that_cannot_be_repeated_is_inconclusive(bisect: Bisect) -> None:
    verdict = bisect("rate@37", reference="noise")
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "reference: its step_040.pt is not the one that its own run wrote" in verdict.reasons[0]
    assert "a run that cannot be repeated cannot be searched" in verdict.reasons
