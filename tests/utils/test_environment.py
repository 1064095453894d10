"""What a run depends on, and the command that prints it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
import torch
from click.testing import CliRunner

from bem_core import __version__, info
from bem_core.utils import environment as env

ROOT = Path(__file__).resolve().parents[2]


def git(folder: Path, *args: str) -> str:
    names = {f"GIT_{who}_{what}": "x@y" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    command = ["git", "-C", str(folder), "-c", "init.defaultBranch=main", "-c", "commit.gpgsign=false", *args]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **names})
    return done.stdout.strip()


def test_git_state(tmp_path: Path) -> None:
    assert env.git_state(tmp_path) is None
    git(tmp_path, "init")
    assert env.git_state(tmp_path) is None
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "a.py").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "one")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert env.git_state(tmp_path / "code") == {"commit": commit, "branch": "main", "dirty": False}
    (tmp_path / "code" / "a.py").write_text("2")
    git(tmp_path, "checkout", "--detach")
    assert env.git_state(tmp_path) == {"commit": commit, "branch": None, "dirty": True}
    assert env.git_state(tmp_path / "nowhere") is None


def test_no_git_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert env.git_state(ROOT) is None


def test_everything_is_plain_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    found = env.describe_environment(ROOT)
    assert json.loads(json.dumps(found)) == found
    assert found["packages"]["torch"] == torch.__version__
    assert found["packages"]["numpy"] == numpy.__version__
    assert found["variables"]["OMP_NUM_THREADS"] == "2"
    assert found["devices"]["cuda"] == [] or torch.cuda.is_available()
    assert found["hardware"]["num_cores"] >= 1
    assert found["hardware"]["memory_bytes"] > 2**28


def test_variables_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("RANK", "CUDA_VISIBLE_DEVICES", "NCCL_DEBUG", "SLURM_JOB_ID", "SLURM_JWT_TOKEN", "TORCH_API_KEY", "OTHER")
    for name in names:
        monkeypatch.setenv(name, "1")
    assert set(names) & set(env.variables()) == {"RANK", "CUDA_VISIBLE_DEVICES", "NCCL_DEBUG", "SLURM_JOB_ID"}


@pytest.fixture
def sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution with extras that are complete, lack a package, have too old a one, and do not apply here."""
    lines = [
        "Metadata-Version: 2.1",
        "Name: sample-dist",
        "Version: 1.0",
        *(f"Provides-Extra: {name}" for name in ("good", "missing", "old", "elsewhere")),
        "Requires-Dist: click>=1",
        "Requires-Dist: numpy>=1; extra == 'good'",
        "Requires-Dist: no_such_package_xyz>=2.1; extra == 'missing'",
        "Requires-Dist: click>=1; extra == 'missing'",
        "Requires-Dist: numpy>=99; extra == 'old'",
        "Requires-Dist: other_missing; extra == 'elsewhere' and sys_platform == 'win32'",
    ]
    (tmp_path / "sample_dist-1.0.dist-info").mkdir()
    (tmp_path / "sample_dist-1.0.dist-info" / "METADATA").write_text("\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(env, "DISTRIBUTION", "sample-dist")


@pytest.mark.usefixtures("sample")
def test_extras_say_what_they_lack() -> None:
    assert env.extras() == {
        "elsewhere": [],
        "good": [],
        "missing": ["no_such_package_xyz>=2.1 (not installed)"],
        "old": [f"numpy>=99 ({numpy.__version__} is installed)"],
    }
    assert env.package_versions()["no_such_package_xyz"] is None


def test_not_installed_as_a_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(env, "DISTRIBUTION", "no-such-distribution-xyz")
    assert env.extras() == {}
    assert set(env.package_versions()) == {"numpy", "torch"}


@pytest.mark.usefixtures("sample")
def test_info_as_text() -> None:
    done = CliRunner().invoke(info.main, [])
    assert done.exit_code == 0
    rows = {line.split()[0]: line.split(maxsplit=1)[1] for line in done.stdout.splitlines() if len(line.split()) > 1}
    assert rows["bem-migrate"] == __version__
    assert rows["good"] == "complete"
    assert rows["missing"] == "needs no_such_package_xyz>=2.1 (not installed)"
    assert "threads" in rows["devices"]


def test_info_as_json() -> None:
    done = CliRunner().invoke(info.main, ["--format", "json"])
    found = json.loads(done.stdout)
    assert found["bem_core"] == __version__
    assert found["packages"]["torch"] == torch.__version__
    assert "extras" in found


def run_info(before: str, *args: str) -> subprocess.CompletedProcess[str]:
    code = f"{before}\nfrom bem_core.info import main\nmain()"
    return subprocess.run([sys.executable, "-c", code, *args], cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_info_without_torch() -> None:
    done = run_info("import sys; sys.modules['torch'] = None; sys.modules['numpy'] = None")
    assert (done.returncode, done.stderr) == (0, "")
    assert "unknown: torch is not installed" in done.stdout


def test_help_does_not_import_torch() -> None:
    check = "import atexit, sys; atexit.register(lambda: print('torch' in sys.modules))"
    done = run_info(check, "--help")
    assert done.stdout.startswith("Usage: ")
    assert done.stdout.endswith("False\n")
