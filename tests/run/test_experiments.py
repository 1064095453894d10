"""``run_bem_experiments.py`` from end to end: real runs in processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.run.site import ROOT, call, environment, experiment, install

SCRIPT = ROOT / "scripts" / "utilities" / "run_bem_experiments.py"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("site"))


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    training = {"max_steps": 6, "eval_steps": 3}
    experiment(tmp_path / "experiments" / "v1_base.yml", training)
    experiment(tmp_path / "experiments" / "v2_fast.yml", training | {"learning_rate": 0.1})
    return tmp_path


def argv(*args: str) -> list[str]:
    return [sys.executable, str(SCRIPT), *args]


def summary(cwd: Path) -> Any:
    return json.loads((cwd / "runs" / "summary.json").read_text())


def statuses(cwd: Path) -> list[str]:
    return [run["status"] for run in summary(cwd)["runs"]]


def test_a_series_with_a_failure(cwd: Path, site: Path) -> None:
    experiment(cwd / "experiments" / "v2_fast.yml", {"max_steps": 6}, tiny={"fail_at": 4})
    args = ("--experiments", "v1_base,v2_*", "--seeds", "1", "--jobs", "2", "--baseline", "v1_base")
    done = call(argv(*args), site, cwd)
    assert done.returncode == 1, done.stderr
    assert statuses(cwd) == ["finished", "failed"]
    assert "v2_fast seed 1: failed after " in done.stderr
    assert "RuntimeError: planted failure; the traceback is in runs/v2_fast/seed-1/train.log" in done.stderr
    assert done.stdout.startswith("# Experiments\n\n2 experiments, 2 runs: 1 finished, 1 failed.")
    assert "written to runs/summary.json, runs/summary.md, runs/summary.html" in done.stdout
    assert (cwd / "runs" / "summary.html").read_text().count("<svg") == 2
    # Other settings are another run, whose results must not be mixed with these.
    other = call(argv(*args, "--resume", "--retry-failed", "training.save_steps=2"), site, cwd)
    assert other.returncode == 2
    assert other.stderr.startswith(
        "error: runs/v1_base/seed-1: holds a run of v1_base seed 1 with another training.save_steps"
    )


def test_ctrl_c_and_going_on(cwd: Path, site: Path) -> None:
    args = argv("--experiments", "v1_*", "--seeds", "1,2", "--no-plots", "tiny.sleep_s=0.15")
    process = subprocess.Popen(args, cwd=cwd, env=environment(site), stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    folder = cwd / "runs" / "v1_base" / "seed-1"
    deadline = time.monotonic() + 60
    while not (folder / "metrics.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert statuses(cwd) == ["interrupted", "waiting"]
    assert list((folder / "checkpoints").iterdir())
    again = call(args, site, cwd)
    assert again.returncode == 2
    assert "1 of these runs have been started before; --resume goes on with them" in again.stderr
    done = call([*args, "--resume"], site, cwd)
    assert done.returncode == 0, done.stderr
    assert statuses(cwd) == ["finished", "finished"]
    assert "resumed from" in (folder / "train.log").read_text()


def test_slurm_by_the_local_executor_of_submitit(cwd: Path, site: Path) -> None:
    options = ("--launcher", "slurm", "--slurm-cluster", "local", "--slurm-option", "timeout_min=5", "--no-plots")
    done = call(argv("--experiments", "v1_*", "--seeds", "1", *options), site, cwd)
    assert done.returncode == 0, done.stderr
    assert "running as local job " in done.stderr
    assert statuses(cwd) == ["finished"]
    assert len(list((cwd / "runs" / ".slurm").glob("*_result.pkl"))) == 1


def test_a_dry_run_prints_commands_and_writes_nothing(cwd: Path, site: Path) -> None:
    args = argv(
        "--experiments", "v1_*", "--seeds", "3-4", "--processes-per-run", "2", "--dry-run", "training.max_steps=2"
    )
    done = call(args, site, cwd)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["waiting", "waiting"]
    start = "-m torch.distributed.run --standalone --nproc-per-node 2 -m bem_core.run"
    given = (
        "experiments/v1_base.yml training.max_steps=2 training.seed=3 --output-dir runs/v1_base/seed-3 --resume auto"
    )
    assert f"{start} {given}" in lines[0]
    assert not (cwd / "runs").exists()


WRONG = {
    "mistyped name": (["--experiments", "v1_bose"], "no experiment matches 'v1_bose'; did you mean 'v1_base'?"),
    "pattern without a match": (["--experiments", "w*"], "no experiment matches 'w*'; there are v1_base, v2_fast"),
    "mistyped baseline": (["--experiments", "v*", "--baseline", "v1"], "'v1' is none of the experiments"),
    "seeds": (["--experiments", "v*", "--seeds", "1,x"], "'x' is no seed; expected numbers such as 1,2,3 or 1-5"),
    "unknown key": (["--experiments", "v*", "training.max_step=1"], "did you mean 'max_steps'?"),
    "unknown component": (["--experiments", "v*", "experiment_type=tinny"], "no component is called 'tinny'"),
    "no such folder": (["--experiments", "v*", "--experiments-dir", "e"], "e: there is no such folder of experiments"),
    "unknown option of slurm": (
        ["--experiments", "v*", "--launcher", "slurm", "--slurm-cluster", "local", "--slurm-option", "nonsense=1"],
        "--launcher slurm: ",
    ),
    "more GPUs than there are": (["--experiments", "v*", "--gpus-per-run", "99"], "--gpus-per-run 99: there are "),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_one_error_before_anything_starts(case: str, cwd: Path, site: Path) -> None:
    args, message = WRONG[case]
    done = subprocess.run(
        argv(*args, "--no-plots"),
        cwd=cwd,
        env=environment(site) | {"CUDA_VISIBLE_DEVICES": "", "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(cwd.glob("runs/*/*"))
