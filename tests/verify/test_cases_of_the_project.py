"""The trainings of the old repository against ours, by the cases in ``tests/parity/cases``."""

from __future__ import annotations

import dataclasses
import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from migrate.verify.case_files import load_case
from migrate.verify.cases import Case, Side
from migrate.verify.parallel import run_cases
from migrate.verify.run import run_case
from migrate.verify.verdict import Divergence, Localised, Outcome, Verdict

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests" / "parity" / "cases"
CASES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
TRAININGS = ("router_bc", "router_pg", "safety", "multimodal", "pt1", "pt2", "pt3", "pt4")
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
    assert sorted([*TRAININGS, *(f"{name}_resumed" for name in TRAININGS)]) == CASES
    cases = [load_case(FOLDER / f"{name}.yaml") for name in CASES]
    assert all(case.steps >= 200 for case in cases if case.name in TRAININGS)
    # Bit for bit, without exceptions.
    assert not any(case.waivers or case.tolerance or case.equivalence for case in cases)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in TRAININGS]
)
def test_both_sides_are_identical(name: str, tmp_path: Path) -> None:
    """Also where they go on from what the old trainer saved."""
    for verdict in run_cases([changed(name), changed(f"{name}_resumed")], tmp_path):
        assert verdict.outcome is Outcome.IDENTICAL, (verdict.case, verdict.reasons, verdict.notes)


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


ANOTHER_METRIC = """
import sys
from pathlib import Path
from bem2.router.unified_trainer import RouterTrainer
from tests.parity.unified_router import main

evaluate = RouterTrainer._evaluate
RouterTrainer._evaluate = lambda self, data: {key: value * (1 + 1e-15) for key, value in evaluate(self, data).items()}
kept = main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), *sys.argv[4:])
"""


@pytest.mark.slow
def test_another_metric_is_a_difference(tmp_path: Path) -> None:
    case = changed("router_bc")
    words = [case.candidate.command[0], "-c", ANOTHER_METRIC, *case.candidate.command[3:]]
    case = dataclasses.replace(case, candidate=dataclasses.replace(case.candidate, command=words))
    verdict = verdict_of(case, tmp_path)
    assert verdict.first is not None, verdict.reasons
    assert (verdict.first.step, verdict.first.phase, verdict.first.key) == (21, "evaluation", "_evaluate")


def test_every_training_goes_on_from_an_old_checkpoint() -> None:
    resumed = {name: load_case(FOLDER / f"{name}_resumed.yaml") for name in TRAININGS}
    assert all(case.goes_on_from == f"{name}.yaml" for name, case in resumed.items())
    # A file of the old safety pipeline has no optimizer.
    assert {name for name, case in resumed.items() if "resume" not in case.features} == {"safety"}


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("script", ROOT / "scripts/validation/test_migration.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_entry_has_every_case_of_a_component(script: Any) -> None:
    assert sorted(case.name for case in script.cases_of("all")) == CASES
    assert [case.name for case in script.cases_of("router")] == [name for name in CASES if name.startswith("router")]


def test_the_entry_prints_a_line_for_each_case_and_why_one_differs(script: Any) -> None:
    sides = {"reference": {"seconds": 1.5}, "candidate": {"seconds": 2.25}}
    same = Verdict(case="pt1", outcome=Outcome.IDENTICAL, steps=210, sides=sides)
    assert script.lines(same) == ["pt1                  identical         210 steps    3.8 s"]
    first = Divergence(3, "forward", "outputs", "call 1", "a", "b")
    found = Localised("its inputs agree and its output differs", module="block.norm")
    other = dataclasses.replace(same, outcome=Outcome.DIFFERENT, divergences=(first,), localised=found)
    assert script.lines(other)[1:] == [
        "    step 3, forward: outputs call 1: a and b",
        "    block.norm: its inputs agree and its output differs",
    ]
    empty = dataclasses.replace(same, outcome=Outcome.VACUOUS, reasons=("steps: 3 steps, at least 200 are asked",))
    assert script.lines(empty)[1:] == ["    steps: 3 steps, at least 200 are asked"]


def test_the_entry_runs_cases_at_once(script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first takes longer, and yet is printed first."""
    broken = [
        dataclasses.replace(
            changed("router_pg"), name=name, candidate=Side(command=["x"]), reference=Side(command=words)
        )
        for name, words in (("slow", ["sh", "-c", "sleep 1; false"]), ("quick", ["false"]))
    ]
    assert script.run(broken, tmp_path, jobs=2) == [Outcome.INCONCLUSIVE] * 2
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in shown if not line.startswith(" ")] == ["slow", "quick"]


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
