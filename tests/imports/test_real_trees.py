"""The source of installed packages under random lists of moves: nothing breaks, and nothing else changes.

A part of it runs by default; ``BEM_MIGRATE_FULL=1`` takes every package whole, with more lists.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.imports import real_trees
from tests.imports.real_trees import RandomMoves

FULL = bool(os.environ.get("BEM_MIGRATE_FULL"))
# Package -> share of its modules that is looked at by default.
TREES = {"networkx": 1.0, "libcst": 1.0, "mypy": 1.0, "hypothesis": 1.0, "sympy": 0.3, "torch": 0.15}
TREES |= dict.fromkeys(["setuptools", "pip", "rich", "pygments", "_pytest", "jinja2"], 1.0) if FULL else {}
SEEDS = range(4) if FULL else range(1)
# Under these codes a person decides, so the names of that file are not compared.
OPEN = {"BM101", "BM103", "BM109", "BM110", "BM111"}


@dataclass(frozen=True)
class Outcome:
    """A run of the command line over a tree, and the bytes before and after it."""

    before: dict[str, bytes]
    after: dict[str, bytes]
    report: dict[str, Any]

    def codes(self, path: str) -> set[str]:
        return {finding["code"] for finding in self.report["findings"] if finding["path"] == path}


def migrate(tree: Path, mapping: Path) -> Outcome:
    """Run ``bem-migrate imports`` on a tree."""
    before = real_trees.snapshot(tree)
    arguments = ["imports", ".", "--mapping", str(mapping), "--format", "json", "--source-root", "."]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "migrate.cli", *arguments], cwd=tree, capture_output=True, text=True, timeout=900
    )
    assert done.returncode in (0, 1), done.stderr or done.stdout[-3000:]
    return Outcome(before, real_trees.snapshot(tree), json.loads(done.stdout))


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("package", TREES)
def test_random_moves(tmp_path: Path, package: str, seed: int) -> None:
    share = 1.0 if FULL else TREES[package]
    tree = real_trees.copy([package], tmp_path / "tree", share, seed)
    moves = real_trees.draw_moves(tree, package, seed, num_modules=12, num_symbols=12)
    mapping = tmp_path / "moves.yaml"
    mapping.write_text(moves.text())
    first = migrate(tree, mapping)
    assert_same_but_names(tree, package, first, moves)
    second = migrate(tree, mapping)
    assert second.report["files"]["changed"] == []
    assert second.after == first.after


def assert_same_but_names(tree: Path, package: str, outcome: Outcome, moves: RandomMoves) -> None:
    changed = {entry["path"] for entry in outcome.report["files"]["changed"]}
    assert changed, "the list of moves touches nothing"
    assert changed == {path for path, data in outcome.before.items() if outcome.after[path] != data}
    assert not [f for f in outcome.report["findings"] if f["code"] == "BM113"]
    names = {path.relative_to(tree).as_posix(): name for name, path in real_trees.modules(tree, package).items()}
    wrong = []
    for path in sorted(changed & set(names)):
        is_package = path.endswith("__init__.py")
        old = real_trees.meaning(outcome.before[path], names[path], is_package)
        new = real_trees.meaning(outcome.after[path], moves.follow(names[path]), is_package)
        found = list(real_trees.differences(old, new, moves))
        if not outcome.codes(path) & OPEN or old.skeleton != new.skeleton:
            wrong += [f"{path}: {difference}" for difference in found]
    assert not wrong, "\n".join(wrong) + "\n" + moves.text()


# Modules that really move, with the tests of the package that are run before and after.
NETWORKX = RandomMoves(
    {
        "networkx.algorithms.shortest_paths": "networkx.algos.sp",
        "networkx.utils.misc": "networkx.helpers.misc2",
        "networkx.classes.coreviews": "networkx.classes.views.core",
        "networkx.algorithms.flow": "networkx.algorithms.flows",
        "networkx.algorithms.centrality.betweenness": "networkx.algos.between",
        "networkx.generators.small": "networkx.generators.little",
        "networkx.readwrite.json_graph": "networkx.io.json",
        "networkx.linalg": "networkx.algebra",
    },
    {},
)
# Its packages import each other in circles, so a module has to stay where it is first imported.
SYMPY = RandomMoves(
    {
        "sympy.core.function": "sympy.core.functional",
        "sympy.polys.domains": "sympy.polys.rings_and_fields",
        "sympy.utilities.iterables": "sympy.utilities.iteration",
        "sympy.matrices.expressions": "sympy.matrices.symbolic",
        "sympy.printing.str": "sympy.printing.plain",
        "sympy.simplify.radsimp": "sympy.simplify.radicals",
        "sympy.ntheory.factor_": "sympy.ntheory.factors",
        "sympy.physics.quantum.state": "sympy.physics.kets",
        "sympy.liealgebras": "sympy.algebras.lie",
    },
    {},
)
MOVED = {
    "networkx": (
        NETWORKX,
        [
            "networkx.algorithms.shortest_paths",
            "networkx.algorithms.centrality.betweenness",
            "networkx.classes.tests.test_coreviews",
            "networkx.readwrite.json_graph",
            "networkx.utils",
            "networkx.utils.misc",
        ],
    ),
    "sympy": (
        SYMPY,
        ["sympy.core.tests.test_function", "sympy.polys.domains", "sympy.physics.quantum.tests.test_state"],
    ),
}


@dataclass(frozen=True)
class Package:
    """A package as it was: what can be imported of it, and the outcome of some of its tests."""

    name: str
    importable: frozenset[str]
    outcomes: dict[tuple[str, str], str]


@pytest.fixture(scope="module", params=MOVED if FULL else ["networkx"])
def package(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Package:
    name = request.param
    tree = real_trees.copy([name], tmp_path_factory.mktemp(name) / "tree")
    importable = imported(tree, list(real_trees.modules(tree, name)))
    return Package(name, frozenset(importable), outcomes_of(tree, MOVED[name][1]))


@pytest.mark.slow
@pytest.mark.parametrize("order", ["rewrite-first", "move-first"])
def test_moved_on_disk(tmp_path: Path, package: Package, order: str) -> None:
    moves, tested = MOVED[package.name]
    tree = real_trees.copy([package.name], tmp_path / "tree")
    mapping = tmp_path / "moves.yaml"
    mapping.write_text(moves.text())
    if order == "move-first":
        real_trees.move_on_disk(tree, moves)
    migrate(tree, mapping)
    if order == "rewrite-first":
        real_trees.move_on_disk(tree, moves)
    lost = {moves.follow(name) for name in package.importable} - imported(tree, modules_of(tree, package))
    assert not lost, reasons(tree, sorted(lost))
    after = outcomes_of(tree, [moves.follow(name) for name in tested])
    # The name of a doctest has its module in it, too.
    wanted = {(moves.follow(name), moves.follow(test)): result for (name, test), result in package.outcomes.items()}
    assert after == wanted
    assert migrate(tree, mapping).report["files"]["changed"] == []


def modules_of(tree: Path, package: Package) -> list[str]:
    return list(real_trees.modules(tree, package.name))


_IMPORT_ALL = """
import importlib, os, sys, warnings
warnings.simplefilter("ignore")
for name in sys.stdin.read().split():
    try:
        importlib.import_module(name)
    except BaseException as error:  # pytest skips with one of those
        print("no", name, type(error).__name__, error, file=sys.stderr)
    else:
        print("imported", name, file=sys.__stdout__)
sys.__stdout__.flush()
os._exit(0)
"""


def python(tree: Path, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run Python with a tree in front of everything that is installed."""
    env = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONWARNINGS": "ignore"}
    return subprocess.run(
        [sys.executable, *arguments], input=text, cwd=tree.parent, env=env, capture_output=True, text=True, timeout=600
    )


def imported(tree: Path, names: list[str]) -> set[str]:
    """Return those modules that can be imported, each together with the others in one process."""
    lines = python(tree, "-c", _IMPORT_ALL, text="\n".join(names)).stdout.splitlines()
    return {line.removeprefix("imported ") for line in lines if line.startswith("imported ")}


def reasons(tree: Path, names: list[str]) -> str:
    return python(tree, "-c", _IMPORT_ALL, text="\n".join(names)).stderr


def outcomes_of(tree: Path, names: list[str]) -> dict[tuple[str, str], str]:
    """Run tests of a package; returns the outcome for each module and test."""
    places = [tree.joinpath(*name.split(".")) for name in names]
    paths = [str(place if place.is_dir() else place.with_suffix(".py")) for place in places]
    report = tree.parent / "report.xml"
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-c", os.devnull, f"--junitxml={report}"]
    options += ["--doctest-modules", "--doctest-continue-on-failure"]
    python(tree, "-m", "pytest", *options, f"--rootdir={tree}", *paths)
    outcomes: dict[tuple[str, str], str] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        module = case.get("classname", "")
        outcomes[module, case.get("name", "")] = next((child.tag for child in case), "passed")
    assert "passed" in outcomes.values()
    return outcomes
