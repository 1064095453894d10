"""The wheel that a user installs: what is in it, and that it works where nothing else is installed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import jsonschema
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# The imports job must run without them; leaving them out is also what keeps this test short.
NOT_FOR_IMPORTS = {"torch", "numpy", "safetensors", "deepdiff"}

MOVES = """\
version: 1
moves:
  - {old: app.old_utils, new: app.text, kind: module}
"""
BEFORE = """\
# caf\u00e9
from app.old_utils import join as j  # kept
import app.old_utils
print(j, app.old_utils.split)""".replace("\n", "\r\n")
AFTER = BEFORE.replace("app.old_utils", "app.text")


def pip(python: Path | str, *args: str) -> None:
    """Run pip for the environment of `python`, which need not have a pip of its own."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--python", str(python), *args]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip(sys.executable, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT))
    (path,) = folder.iterdir()
    return path


def core_requirements(wheel: Path) -> list[Requirement]:
    """Return what the wheel requires when no extra is asked for."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        text = archive.read(name).decode()
    lines = Parser().parsestr(text).get_all("Requires-Dist", [])
    found = (Requirement(line) for line in lines)
    return [req for req in found if req.marker is None or req.marker.evaluate({"extra": ""})]


def test_wheel_has_the_packages_with_their_data_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} <= {"bem_core", "bem2", "legacy_shims", "migrate"}
    shipped = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "migrate").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert shipped <= names


def test_imports_runs_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=False, symlinks=True)
    python = tmp_path / "env" / "bin" / "python"
    needed = [str(req) for req in core_requirements(wheel) if canonicalize_name(req.name) not in NOT_FOR_IMPORTS]
    pip(python, "install", "--constraint", "constraints.txt", *needed)
    pip(python, "install", "--no-deps", "--no-index", str(wheel))

    app = tmp_path / "work" / "app"
    app.mkdir(parents=True)
    for name, text in {"__init__.py": "", "text.py": "join = split = None\n", "main.py": BEFORE}.items():
        (app / name).write_bytes(text.encode())
    (tmp_path / "work" / "moves.yaml").write_text(MOVES)

    program = tmp_path / "env" / "bin" / "bem-migrate"
    command = [program, "imports", "--mapping", "moves.yaml", "app"]
    done = subprocess.run(command, cwd=app.parent, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert (app / "main.py").read_bytes() == AFTER.encode()


def test_shipped_list_fits_the_shipped_schema() -> None:
    mappings = ROOT / "migrate" / "mappings"
    schema = json.loads((mappings / "moves.schema.json").read_text())
    validator = jsonschema.validators.validator_for(schema)
    validator.check_schema(schema)
    listed = yaml.safe_load((mappings / "bem.yaml").read_text())
    assert [error.message for error in validator(schema).iter_errors(listed)] == []


def test_every_dependency_is_pinned() -> None:
    pins = {
        canonicalize_name(match[1])
        for match in re.finditer(r"^([\w.-]+)==[\w.]+$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    }
    extras = PYPROJECT["optional-dependencies"]
    wanted = [*PYPROJECT["dependencies"], *extras["test"], *extras["dev"]]
    assert {canonicalize_name(Requirement(line).name) for line in wanted} <= pins


@pytest.mark.parametrize("name", [".pre-commit-hooks.yaml", ".pre-commit-config.yaml"])
def test_pre_commit_accepts(name: str) -> None:
    kind = "validate-manifest" if "hooks" in name else "validate-config"
    done = subprocess.run(
        [sys.executable, "-m", "pre_commit", kind, name], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
