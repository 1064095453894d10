"""The trees that are rewritten: sources of installed packages as they are, or laid out as a project."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import _project
from _measure import python_files

HERE = Path(__file__).parent
PACKAGES = ("sympy", "networkx", "numpy")


def environment(cache: Path) -> Path:
    """Return the environment with the peers and the packages, made when ``requirements.txt`` has changed."""
    requirements, folder = HERE / "requirements.txt", cache / "venv"
    stamp, wanted = folder / "benchmark.stamp", _digest(requirements.read_bytes())
    if not stamp.exists() or stamp.read_text() != wanted:
        venv.create(folder, clear=True, with_pip=True)
        pip = [str(folder / "bin/python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", str(requirements)], check=True, stdout=subprocess.DEVNULL)
        stamp.write_text(wanted)
    return folder


def versions(folder: Path) -> dict[str, str]:
    """Return name and version of each package in an environment."""
    command = [str(folder / "bin/python"), "-m", "pip", "--disable-pip-version-check", "list", "--format", "json"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {item["name"]: item["version"] for item in json.loads(text)}


def build(name: str, cache: Path, folder: Path) -> Path:
    """Return the tree called ``project``, ``packages`` or ``forest``, built once for a set of versions."""
    code = b"".join((HERE / file).read_bytes() for file in ("_corpora.py", "_project.py"))
    stamp_text = _digest(code + json.dumps(versions(folder)).encode() + str(_torch()).encode())
    tree, stamp = cache / "trees" / name, cache / "trees" / f"{name}.stamp"
    if not tree.exists() or not stamp.exists() or stamp.read_text() != stamp_text:
        shutil.rmtree(tree, ignore_errors=True)
        {"project": _build_project, "packages": _build_packages, "forest": _build_forest}[name](tree, folder)
        stamp.write_text(stamp_text)
    return tree


def size(tree: Path) -> dict[str, int]:
    """Return the number of Python files, lines and bytes of a tree."""
    contents = [path.read_bytes() for path in python_files(tree)]
    return {"files": len(contents), "lines": sum(c.count(b"\n") for c in contents), "bytes": sum(map(len, contents))}


def _build_project(tree: Path, folder: Path) -> None:
    torch = _torch()
    if torch is None:
        raise FileNotFoundError(
            "torch, whose sources the project is made of; install bem-migrate with its dependencies"
        )
    sources = python_files(torch)
    _project.build(tree, sorted(sources, key=lambda path: _digest(path.relative_to(torch).as_posix().encode())))


def _build_packages(tree: Path, folder: Path) -> None:
    for name in PACKAGES:
        _copy_sources(_site(folder) / name, tree / name)


def _build_forest(tree: Path, folder: Path) -> None:
    _copy_sources(_site(folder), tree)
    torch = _torch()
    if torch is not None:
        _copy_sources(torch, tree / "torch")


def _copy_sources(source: Path, target: Path) -> None:
    for path in python_files(source):
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)


def _site(folder: Path) -> Path:
    return folder / f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"


def _torch() -> Path | None:
    """Return torch's folder in the environment that runs this: too large to be installed a second time."""
    spec = importlib.util.find_spec("torch")
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
