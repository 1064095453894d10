"""Cases run in real processes: the pair in ``pairs/`` is one training in two shapes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from migrate.cli import main
from migrate.verify.case_files import load_case
from migrate.verify.children import pinned_environment, run_quietly
from migrate.verify.run import run_case
from migrate.verify.verdict import Outcome, Verdict
from tests.verify.processes import assert_ended

PAIRS = Path(__file__).parent / "pairs"
Run = Callable[..., Verdict]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run the case of the pair, changed, with a fault in the candidate."""

    def run(fault: str = "", **changed: Any) -> Verdict:
        for name in ("old", "new"):
            shutil.copytree(PAIRS / name, tmp_path / name, dirs_exist_ok=True)
        case = yaml.safe_load((PAIRS / "case.yaml").read_text()) | changed
        case["candidate"] = case["candidate"] | {"environment": {"FAULT": fault}}
        (tmp_path / "case.yaml").write_text(yaml.safe_dump(case))
        (verdict,) = run_case(load_case(tmp_path / "case.yaml"), tmp_path / "runs")
        return verdict

    return run


def test_the_command_on_a_pair_that_is_the_same(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    done = CliRunner().invoke(main, ["verify", "run", str(PAIRS / "case.yaml"), "--json", str(report)])
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("pair seed 3  identical  24 steps")
    (verdict,) = json.loads(report.read_text())["verdicts"]
    assert list(verdict["sides"]) == ["reference", "candidate"]
    assert verdict["noise"] is None


@pytest.mark.slow
def test_a_stray_draw_is_told_with_its_stack(run: Run) -> None:
    verdict = run("draw")
    assert (verdict.outcome, verdict.first and verdict.first.phase) == (Outcome.DIFFERENT, "rng")
    assert verdict.localised is not None
    assert "candidate: torch.rand at train.py" in verdict.localised.detail
    assert verdict.localised.stack[0].endswith("Body.forward")
    assert verdict.noise == "agrees with itself"
    assert {"parameters", "loss"} <= {series.name for series in verdict.drift}
    errors = [one.error for one in verdict.divergences if one.channel == "parameters"]
    assert errors
    assert all(error is not None and 0 < error < 1 for error in errors)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        pytest.param("crash", "RuntimeError: out of patience", id="crash"),
        pytest.param("idle", "expected and never seen: backward, forward", id="trains nothing"),
    ],
)
def test_a_side_that_fails_is_inconclusive(fault: str, reason: str, run: Run) -> None:
    verdict = run(fault)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert reason in "\n".join([*verdict.reasons, *verdict.notes])


def test_a_side_that_hangs_is_stopped(run: Run) -> None:
    sleeper = {"command": ["{python}", "-c", "print('working', flush=True); import time; time.sleep(600)"]}
    verdict = run(reference=sleeper, timeout_s=1.0, features=[])
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "did not end within 1 s and was stopped" in verdict.reasons[0]
    assert "working" in verdict.notes[0]


def test_a_preparation_that_hangs_is_stopped_with_what_it_started(tmp_path: Path) -> None:
    script = "sleep 600 & echo $! > pid; echo working; wait"
    failure, printed = run_quietly(["sh", "-c", script], tmp_path, {"PATH": os.defpath}, timeout_s=0.5)
    assert failure == "did not end within 0.5 s and was stopped"
    assert printed == "working\n"
    assert_ended(Path("/proc", (tmp_path / "pid").read_text().strip(), "stat"))


def test_a_program_without_torch_is_inconclusive(run: Run) -> None:
    verdict = run(reference={"command": ["{python}", "-c", "print('nothing')"]}, features=[])
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "trained nothing" in verdict.reasons[0]


@pytest.mark.slow
def test_a_kernel_that_rounds_otherwise_is_compared_in_lockstep(run: Run) -> None:
    verdict = run("fused", tolerance={"reason": "another kernel"})
    assert (verdict.outcome, verdict.mode) == (Outcome.WITHIN_TOLERANCE, "lockstep"), verdict.reasons
    assert verdict.notes[0].startswith("of ")


@pytest.mark.slow
def test_metrics_over_seeds(run: Run) -> None:
    # A side needs no state in common with the other here.
    reason = {"reason": "another order of sums", "margins": {"loss": 0.5}}
    verdict = run("rate", seeds=[1, 2, 3], equivalence=reason, features=[])
    assert (verdict.outcome, verdict.mode) == (Outcome.WITHIN_TOLERANCE, "statistical"), verdict.reasons
    (row,) = verdict.metrics
    assert row["num_seeds"] == 3
    assert abs(row["difference"]) < 1e-6


def test_the_environment_is_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_PROC_BIND", "spread")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("HOME", "/somewhere")
    found = pinned_environment(2, {"MORE": "1"})
    assert found["OMP_NUM_THREADS"] == found["MKL_NUM_THREADS"] == "2"
    assert "OMP_PROC_BIND" not in found
    assert (found["PYTHONHASHSEED"], found["MORE"], found["HOME"]) == ("0", "1", "/somewhere")
