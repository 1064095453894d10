"""The trainings of the old repository against ours, by the cases in ``tests/parity/cases``."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from migrate.verify.cases import Case, load_case
from migrate.verify.run import run_case
from migrate.verify.verdict import Outcome, Verdict

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests" / "parity" / "cases"
CASES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
QUICK = ("pt1", "router_bc")


def verdict_of(case: Case, folder: Path) -> Verdict:
    (verdict,) = run_case(case, folder)
    return verdict


def changed(name: str, *options: str) -> Case:
    """Return a case whose candidate has other options."""
    case = load_case(FOLDER / f"{name}.yaml")
    candidate = dataclasses.replace(case.candidate, command=[*case.candidate.command, *options])
    return dataclasses.replace(case, candidate=candidate)


def test_every_training_has_a_case() -> None:
    trainings = {"router_bc", "router_pg", "safety", "multimodal", "pt1", "pt2", "pt3", "pt4"}
    assert trainings <= set(CASES)
    cases = [load_case(FOLDER / f"{name}.yaml") for name in CASES]
    assert all(case.steps >= 200 for case in cases if case.name in trainings)
    # Bit for bit, without exceptions.
    assert not any(case.waivers or case.tolerance or case.equivalence for case in cases)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in CASES]
)
def test_both_sides_are_identical(name: str, tmp_path: Path) -> None:
    verdict = verdict_of(changed(name), tmp_path)
    assert verdict.outcome is Outcome.IDENTICAL, (verdict.reasons, verdict.notes)


@pytest.mark.parametrize(
    ("name", "option", "first"),
    [
        pytest.param("pt1", f"learning_rate={5e-3 * (1 + 1e-12)!r}", (1, "hyper"), id="a rate", marks=pytest.mark.slow),
        pytest.param("router_bc", "max_grad_norm=0.999", (1, "clip"), id="clipping"),
    ],
)
def test_one_option_more_is_a_difference(name: str, option: str, first: tuple[int, str], tmp_path: Path) -> None:
    verdict = verdict_of(changed(name, option), tmp_path)
    assert verdict.outcome is Outcome.DIFFERENT, verdict.reasons
    assert verdict.first is not None
    assert (verdict.first.step, verdict.first.phase) == first, verdict.first
    assert verdict.noise == "agrees with itself"


def test_what_only_one_side_has_must_be_there(tmp_path: Path) -> None:
    case = dataclasses.replace(
        changed("pt1"), only_candidate={r".*norm.*vectors": "iterations", r"gone\..*": "nothing"}
    )
    verdict = verdict_of(case, tmp_path)
    assert verdict.outcome is Outcome.VACUOUS
    assert any(r"0 tensors fit 'gone" in reason for reason in verdict.reasons)


def test_a_preparation_that_fails_is_told(tmp_path: Path) -> None:
    case = changed("router_bc")
    broken = dataclasses.replace(case.prepare[0], command=["{python}", "-c", "raise SystemExit('no traces')"])
    verdict = verdict_of(dataclasses.replace(case, prepare=[broken]), tmp_path)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "preparation: ended with exit code 1" in verdict.reasons[0]
    assert "no traces" in verdict.notes[0]


def test_the_entry_for_configurations(tmp_path: Path) -> None:
    script = [sys.executable, "scripts/validation/test_configs.py"]
    done = subprocess.run(script, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "MM0.yml: valid" in done.stdout
    (tmp_path / "MM0.yml").write_text("name: x\ntrainng: {}\n")
    broken = subprocess.run([*script, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert broken.returncode == 1
    assert "did you mean 'training'" in broken.stdout
