"""The old safety component, repaired: its demo runs all of it at tiny size."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

LEGACY = Path(__file__).parents[1] / "legacy_repo"


def test_demo_builds_trains_and_evaluates(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", str(LEGACY / "scripts/demos/demo_vc0_safety.py")]
    environment = {**os.environ, "PYTHONPATH": str(LEGACY / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "steps 24" in done.stdout
    assert "grade" in done.stdout


PROBE = """
from pathlib import Path
import sys
from {root}bem2.safety.training import load_safety_configs
made = load_safety_configs(sys.argv[1])
assert made["config"].learning_rate == 1e-4, made["config"]
assert made["safety_basis_config"].safety_rank == 32
assert made["constraint_config"].warmup_steps == 1000
"""


@pytest.mark.parametrize(("path", "root"), [("src", ""), (".", "src.")], ids=["src", "root"])
def test_package_imports_under_both_roots_and_reads_an_old_experiment(path: str, root: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(LEGACY / path), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", PROBE.format(root=root), str(LEGACY / "experiments/VC0.yml")]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
