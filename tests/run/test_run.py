"""``python -m bem_core.run`` in processes of its own, with a component that is installed as pip would do it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from bem_core.training.checkpoint import load_tree
from bem_core.utils.digest import digest
from tests.run.site import ROOT, call, command, environment, experiment, install


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("site"))


def results(folder: Path, name: str = "results.json") -> Any:
    return json.loads((folder / name).read_text())


@pytest.fixture(scope="module")
def finished(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a finished run in ``outputs/whole``."""
    cwd = tmp_path_factory.mktemp("work")
    gates = {"max_eval_loss": 100.0, "min_speed": 3}
    experiment(cwd / "experiments" / "whole.yml", quality_gates=gates)
    done = call(command("experiments/whole.yml"), site, cwd)
    assert done.returncode == 0, done.stderr
    return cwd


def test_a_run_writes_results_log_and_gates(finished: Path) -> None:
    folder = finished / "outputs" / "whole"
    found = results(folder)
    last = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()][-1]
    assert found["metrics"] == {name: value for name, value in last.items() if name.startswith("eval_")}
    assert (found["training"]["total_steps"], found["training"]["stop_reason"]) == (8, "max_steps")
    assert found["measured"]["num_parameters"] == 6 * 8 + 8 + 8 * 3 + 3
    assert {gate["key"]: gate["status"] for gate in found["gates"]["gates"]} == {
        "quality_gates.max_eval_loss": "pass",
        "quality_gates.min_speed": "not measured",
    }
    log = (folder / "train.log").read_text()
    assert "eval_loss" in log
    assert "checkpoint" in log


def test_results_go_to_stdout_and_messages_to_stderr(site: Path, tmp_path: Path) -> None:
    flops = 2 * 4 * (6 * 8 + 8 * 3)  # Two for each weight and each of the four samples of a batch.
    budget = {"baseline_flops": flops, "flops_tolerance": 0.0}
    path = experiment(tmp_path / "a.yml", quality_gates={"min_accuracy": 2}, budget=budget)
    done = call(command(path, "training.max_steps=2"), site, tmp_path)
    assert done.returncode == 1  # A quality gate failed.
    first, *_, last = done.stdout.splitlines()
    assert first.startswith("a, seed 42: 2 steps in ")
    assert "fail          quality_gates.min_accuracy: accuracy is " in done.stdout
    assert f"pass          budget.flops_tolerance: flops is {flops} after {flops}" in done.stdout
    assert last == "written to outputs/a/results.json"
    assert "eval_loss" in done.stderr


def test_overrides_reach_the_run_and_its_description(site: Path, tmp_path: Path) -> None:
    path = experiment(tmp_path / "a.yml")
    args = ("training.max_steps=3", "training.seed=7", "logging.console_output=false", "--output-dir", "here")
    done = call(command(path, *args), site, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert results(tmp_path / "here")["training"]["total_steps"] == 3
    assert yaml.safe_load((tmp_path / "here" / "config.yaml").read_text())["training"]["seed"] == 7
    assert "override" in json.loads((tmp_path / "here" / "sources.json").read_text())["training.seed"]


def test_a_second_run_does_not_write_over_the_first(finished: Path, site: Path) -> None:
    before = (finished / "outputs" / "whole" / "results.json").read_bytes()
    done = call(command("experiments/whole.yml"), site, finished)
    assert done.returncode == 2
    assert done.stderr.startswith("error: outputs/whole: holds a run already (metrics.jsonl")
    assert (finished / "outputs" / "whole" / "results.json").read_bytes() == before


def test_evaluate_only_finds_what_training_found_and_keeps_its_results(finished: Path, site: Path) -> None:
    folder = finished / "outputs" / "whole"
    before = (folder / "results.json").read_bytes()
    done = call(command("experiments/whole.yml", "--evaluate-only"), site, finished)
    assert done.returncode == 0, done.stderr
    found = results(folder, "evaluation.json")
    assert found["metrics"] == results(folder)["metrics"]
    assert found["checkpoint"].endswith("step-00000008")
    assert (folder / "results.json").read_bytes() == before


def content(folder: Path) -> dict[str, Any]:
    """What a run ends with, without what depends on the clock."""
    tree = load_tree(folder / "checkpoints" / "step-00000008")
    del tree["trainer"]["progress"]["elapsed_s"]
    files = {name: (folder / name).read_bytes() for name in ("metrics.jsonl", "metrics.csv")}
    return {name: digest(part) for name, part in tree.items()} | files | {"found": results(folder)["metrics"]}


def test_a_stopped_run_goes_on_as_if_it_was_never_stopped(finished: Path, site: Path, tmp_path: Path) -> None:
    path = experiment(tmp_path / "whole.yml")
    stopped = call(command(path, "tiny.stop_at=3", "tiny.signal=SIGTERM"), site, tmp_path)
    assert stopped.returncode == 143
    last = stopped.stderr.splitlines()[-1]
    assert last == "interrupted: SIGTERM: step 3 is saved in outputs/whole; --resume auto goes on"
    assert not (tmp_path / "outputs" / "whole" / "results.json").exists()
    done = call(command(path, "--resume", "auto"), site, tmp_path)
    assert done.returncode == 0, done.stderr
    assert content(tmp_path / "outputs" / "whole") == content(finished / "outputs" / "whole")


def test_a_run_that_was_killed_after_its_last_checkpoint_ends_the_same(
    finished: Path, site: Path, tmp_path: Path
) -> None:
    path = experiment(tmp_path / "whole.yml")
    shutil.copytree(finished / "outputs", tmp_path / "outputs")
    (tmp_path / "outputs" / "whole" / "results.json").unlink()
    done = call(command(path, "--resume", "auto"), site, tmp_path)
    assert done.returncode == 0, done.stderr
    assert content(tmp_path / "outputs" / "whole") == content(finished / "outputs" / "whole")


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGUSR1", 138)])
def test_exit_codes_of_signals(name: str, code: int, site: Path, tmp_path: Path) -> None:
    path = experiment(tmp_path / "a.yml")
    stopped = call(command(path, "tiny.stop_at=3", f"tiny.signal={name}"), site, tmp_path)
    assert stopped.returncode == code
    assert stopped.stderr.splitlines()[-1].startswith(f"interrupted: {name}: step 3 is saved")


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_anew(
    finished: Path, site: Path, tmp_path: Path
) -> None:
    path = experiment(tmp_path / "whole.yml")
    killed = call(command(path, "tiny.stop_at=3", "tiny.signal=SIGKILL"), site, tmp_path)
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "outputs" / "whole" / "metrics.jsonl").stat().st_size
    done = call(command(path, "--resume", "auto"), site, tmp_path)
    assert done.returncode == 0, done.stderr
    assert content(tmp_path / "outputs" / "whole") == content(finished / "outputs" / "whole")


WRONG: dict[str, tuple[dict[str, Any], list[str], str]] = {
    "no such file": ({}, ["experiments/tinny.yml"], "there is no such experiment; did you mean 'tiny.yml'?"),
    "suffix left out": ({}, ["experiments/tiny"], "there is no such experiment; did you mean 'tiny.yml'?"),
    "a folder": ({}, ["experiments"], "experiments: there is no such experiment; it is a folder"),
    "unknown key": ({}, ["experiments/tiny.yml", "training.max_step=3"], "did you mean 'max_steps'?"),
    "no override": ({}, ["experiments/tiny.yml", "max_steps"], "expected dotted.key=value"),
    "unknown component": (
        {"experiment_type": "tinny"},
        ["experiments/tiny.yml"],
        "no component is called 'tinny'; did you mean 'tiny'?; installed: ",
    ),
    "checkpoint that is not there": (
        {},
        ["experiments/tiny.yml", "--resume", "nowhere"],
        "nowhere: there is no such checkpoint",
    ),
    "nothing to evaluate": (
        {},
        ["experiments/tiny.yml", "--evaluate-only"],
        "outputs/tiny/checkpoints: there is no checkpoint to evaluate",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_one_error(case: str, site: Path, tmp_path: Path) -> None:
    sections, args, message = WRONG[case]
    experiment(tmp_path / "experiments" / "tiny.yml", **sections)
    done = call(command(*args), site, tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "outputs" / "tiny" / "metrics.jsonl").exists()


def test_what_a_component_raises_is_one_line_and_its_traceback_is_in_the_log(site: Path, tmp_path: Path) -> None:
    path = experiment(tmp_path / "a.yml")
    done = call(command(path, "tiny.fail_at=2"), site, tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "error: RuntimeError: planted failure; the traceback is in outputs/a/train.log"
    )
    assert 'raise RuntimeError("planted failure")' in (tmp_path / "outputs" / "a" / "train.log").read_text()


def test_a_trial_run_writes_nothing(site: Path, tmp_path: Path) -> None:
    path = experiment(tmp_path / "a.yml", quality_gates={"min_accuracy": 2})
    done = call(command(path, "training.fast_dev_run=1"), site, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("a, seed 42: 1 steps in ")
    assert not (tmp_path / "outputs").exists()


def test_several_processes_speak_with_one_voice(site: Path, tmp_path: Path) -> None:
    path = experiment(tmp_path / "a.yml", {"max_steps": 4})
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = call([*start, *command(path)[1:]], site, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("written to outputs/a/results.json") == 1
    assert json.loads((tmp_path / "outputs/a/run.json").read_text())["processes"] == 2
    assert (tmp_path / "outputs/a/train.rank1.log").exists()
    wrong = call([*start, *command(path, "experiment_type=tinny")[1:]], site, tmp_path)
    assert [line for line in wrong.stderr.splitlines() if line.startswith("error: ")] == [
        line for line in wrong.stderr.splitlines() if "no component is called 'tinny'" in line
    ]
    assert wrong.stderr.count("no component is called 'tinny'") == 1


@pytest.mark.parametrize(
    "args", [["-m", "bem_core.run", "--help"], [str(ROOT / "scripts/utilities/run_bem_experiments.py"), "--help"]]
)
def test_help_loads_nothing_heavy(args: list[str], site: Path) -> None:
    argv = [sys.executable, "-X", "importtime", *args]
    done = subprocess.run(argv, env=environment(site) | {"PATH": os.environ["PATH"]}, capture_output=True, text=True)
    names = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert done.stdout.startswith("Usage: ")
    assert "click" in names
    assert not names & {"torch", "numpy", "scipy", "yaml", "rich", "matplotlib", "submitit", "jinja2"}
