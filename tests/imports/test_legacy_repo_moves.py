"""The bundled legacy repository, moved as a whole: against golden files, by what it does afterwards, and back."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

LEGACY = Path(__file__).parents[1] / "legacy_repo"
GOLDEN = Path(__file__).parent / "golden_legacy"

Cli = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return shutil.copytree(LEGACY, tmp_path / "repo", ignore=shutil.ignore_patterns("__pycache__"))


def same_as_golden(name: str, data: bytes) -> None:
    """Compare with a golden file; ``UPDATE_GOLDEN=1`` writes it instead, to be read in the diff of the commit."""
    path = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_bytes(data)
    assert data == path.read_bytes()


def test_changes_are_the_golden_ones(copy: Path, run_cli: Cli) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "migrate.cli", "imports", ".", "--diff", "--quiet"], cwd=copy, capture_output=True
    )
    assert shown.returncode == 1
    same_as_golden("changes.diff", shown.stdout)


def test_findings_are_the_golden_ones(copy: Path, run_cli: Cli) -> None:
    report = json.loads(run_cli("imports", ".", "--format", "json", cwd=copy).stdout)
    lines = [f"{f['path']}:{f['line']}:{f['column']}: {f['code']} {f['message']}" for f in report["findings"]]
    same_as_golden("findings.txt", "\n".join([*lines, ""]).encode())


def test_moved_packages_import_and_did_not_before(copy: Path, run_cli: Cli) -> None:
    probe = "import bem_core, bem_legacy, bem2.router, bem2.safety, bem2.multimodal, bem2.perftrack"

    def imports() -> int:
        environment = {**os.environ, "PYTHONPATH": str(copy / "src")}
        return subprocess.run([sys.executable, "-c", probe], cwd=copy, env=environment, capture_output=True).returncode

    assert imports() != 0
    run_cli("imports", ".", cwd=copy)
    assert imports() == 0


def test_doctor_has_less_to_say_afterwards(copy: Path, run_cli: Cli) -> None:
    before = json.loads(run_cli("doctor", ".", "--format", "json", cwd=copy).stdout)
    run_cli("imports", ".", cwd=copy)
    after = json.loads(run_cli("doctor", ".", "--format", "json", cwd=copy).stdout)
    assert len(after["unresolved"]) < len(before["unresolved"]) / 4
    assert before["exclusive"]


def test_second_run_changes_nothing(copy: Path, run_cli: Cli) -> None:
    run_cli("imports", ".", cwd=copy)
    report = json.loads(run_cli("imports", ".", "--check", "--format", "json", cwd=copy).stdout)
    assert report["files"]["changed"] == []


def test_the_diff_is_a_patch_that_does_what_a_run_does(copy: Path, tmp_path: Path) -> None:
    (copy / "sp ace").mkdir()
    (copy / "sp ace" / "a 'b\".py").write_bytes(b"\xef\xbb\xbfimport bem.models\n")
    (copy / "esc\tape.py").write_bytes(b"# coding: latin-1\nx = '\x1b[31m\xe4'\r\nimport bem.models")
    other = shutil.copytree(copy, tmp_path / "other")
    command = [sys.executable, "-m", "migrate.cli", "imports"]
    patch = subprocess.run([*command, str(copy), "--diff", "--quiet"], cwd=tmp_path, capture_output=True).stdout
    assert b"--- a/repo/" in patch
    apply = ["git", "apply", "-p2", "--whitespace=nowarn", "-"]
    subprocess.run(
        apply, cwd=other, input=patch, check=True, env={**os.environ, "GIT_CEILING_DIRECTORIES": str(tmp_path)}
    )
    subprocess.run([*command, ".", "--quiet"], cwd=copy, check=False)
    shutil.rmtree(copy / ".bem-migrate")
    for path in copy.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (other / path.relative_to(copy)).read_bytes(), path


def test_undo_brings_every_byte_back(copy: Path, run_cli: Cli) -> None:
    run_cli("imports", ".", cwd=copy)
    assert run_cli("undo", cwd=copy).returncode == 0
    shutil.rmtree(copy / ".bem-migrate")
    for path in LEGACY.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert (copy / path.relative_to(LEGACY)).read_bytes() == path.read_bytes()
