"""The filter by bytes lets everything pass that has a reference: with and without it a run says and does the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from migrate import moves_file
from migrate.imports.kinds import KINDS
from migrate.imports.prefilter import Prefilter
from migrate.imports.run import Options, run
from migrate.moves import Moves
from tests.imports import stub_world
from tests.imports.strategies import case, chooser
from tests.imports.test_generated import worlds

LEGACY = Path(__file__).parent.parent / "legacy_repo"
LISTS = 12
FILES = 40
# A package that is handed on, deep in which something moved, is reported where the file names its module too.
HANDED_ON = {"BM103"}
Said = dict[str, tuple[str, list[str]]]


def said(root: Path, moves: Moves, prefilter: bool) -> Said:
    """Return what a run would change and report, by file."""
    options = Options((str(root),), root, KINDS, mode="diff", jobs=1, source_roots=(root,), prefilter=prefilter)
    report = run(options, moves)
    assert not report.errors
    return {
        result.path: (result.diff, [f"{finding.line} {finding.code}" for finding in result.findings])
        for result in report.results
        if result.diff or {finding.code for finding in result.findings} - HANDED_ON
    }


def write_tree(root: Path, seed: int) -> Moves:
    """Write the stub world with generated modules in it; returns a list of moves."""
    stub_world.write_tree(stub_world.old_world(), root)
    cases = (case(chooser(number)) for number in range(seed * 1000, seed * 1000 + 1000))
    usable = [one for one in cases if worlds(one.moves)]
    for number, one in enumerate(usable[:FILES]):
        folder, name = root.joinpath(*one.name.split(".")[:-1]), f"{one.name.rpartition('.')[2]}{number}"
        place = folder / name / "__init__.py" if one.is_package else folder / f"{name}.py"
        place.parent.mkdir(exist_ok=True)
        place.write_text(one.code, encoding="utf-8")
    known = worlds(usable[0].moves)
    assert known is not None
    return known[0]


@pytest.mark.parametrize("seed", range(LISTS))
def test_generated_trees(tmp_path: Path, seed: int) -> None:
    moves = write_tree(tmp_path, seed)
    everything = said(tmp_path, moves, prefilter=False)
    assert said(tmp_path, moves, prefilter=True) == everything
    assert everything


def test_legacy_repository() -> None:
    moves = moves_file.shipped()
    everything = said(LEGACY, moves, prefilter=False)
    assert said(LEGACY, moves, prefilter=True) == everything
    assert len(everything) > 20


LIST = """
version: 1
moves:
  - {old: pkg.mod.func, new: "new.mod:func"}
  - {old: old, new: fresh, kind: module}
  - {old: deep.er.est, new: deep.down, kind: module}
"""


@pytest.fixture(scope="module")
def prefilter() -> Prefilter:
    return Prefilter(moves_file.parse(LIST, "moves.yaml"))


@pytest.mark.parametrize(
    ("code", "around"),
    [
        pytest.param("from pkg.mod import func", "", id="from"),
        pytest.param("from pkg.mod import (\n    other,\n    func as g,\n)", "", id="from a list"),
        pytest.param("from pkg import mod\nmod.func()", "", id="attribute"),
        pytest.param("import pkg.mod as m\nm . func", "", id="spaces around the dot"),
        pytest.param("import pkg.mod as m\nm.\\\n    func", "", id="continued behind the dot"),
        pytest.param("import pkg.mod as m\n(m.  # why\n    func)", "", id="comment behind the dot"),
        pytest.param("from pkg.mod import *\nfunc()", "", id="star"),
        pytest.param("from pkg . mod \\\n  import func", "", id="spaces and a continued line"),
        pytest.param("from .mod import func", "pkg", id="relative, in the package"),
        pytest.param("from . import func", "pkg mod", id="relative, in the module's own folder"),
        pytest.param("from ..pkg.mod import func", "top", id="relative, from beside"),
        pytest.param("getattr(pkg.mod, 'func')", "", id="getattr"),
        pytest.param("resolve('pkg.mod:func')", "", id="colon in a string"),
        pytest.param("import old", "", id="top-level package"),
        pytest.param("import\told", "", id="tab"),
        pytest.param("from old.x import y", "", id="below a package"),
        pytest.param("x = {'_target_': 'old.x.Y'}", "", id="string"),
        pytest.param("import deep.er.est", "", id="three parts"),
        pytest.param("from deep.er import est", "", id="module from its package"),
        pytest.param("from deep import er\ner.est.x", "", id="module through its package"),
        pytest.param("from .er import est", "deep", id="module, relative"),
        pytest.param("from . import est", "deep er", id="module, relative, from its folder"),
        pytest.param("import_module('old' + name)", "", id="computed"),
        pytest.param("import pkg.mod\nhand_on(pkg.mod)", "", id="module of a symbol"),
    ],
)
def test_passes(prefilter: Prefilter, code: str, around: str) -> None:
    assert prefilter.may_mention(code.encode(), {word.encode() for word in around.split()}, python=True)


@pytest.mark.parametrize(
    ("code", "around"),
    [
        pytest.param("", "", id="empty"),
        pytest.param("import os\nx = 1\n", "", id="nothing like it"),
        pytest.param("from other.mod import func", "", id="another package"),
        pytest.param("from pkg.module import other", "", id="another module"),
        pytest.param("import older\nfold = 1\n", "", id="only part of a word"),
        pytest.param("def func(): pass\nimport pkg.model", "pkg", id="a definition of the same name"),
        pytest.param("from .er import est", "pkg", id="relative, in another package"),
    ],
)
def test_drops(prefilter: Prefilter, code: str, around: str) -> None:
    assert not prefilter.may_mention(code.encode(), {word.encode() for word in around.split()}, python=True)
