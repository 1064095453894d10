"""Generated modules see the same objects after a rewrite as before it.

Each module runs twice: as it was, in a stub world at the old places; and rewritten, in one where the same objects stand
at the new places only. `BEM_MIGRATE_EXAMPLES=20000` makes the seeded part look further.
"""

from __future__ import annotations

import ast
import io
import os
import tokenize
import warnings
from collections import Counter
from functools import lru_cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from migrate.edits import Rewrite, apply
from migrate.imports.context import Context
from migrate.imports.python import rewrite
from migrate.imports.tree import Tree
from migrate.moves import Moves
from migrate.moves_file import MovesError, parse
from tests.imports import stub_world
from tests.imports.strategies import Case, case, cases, chooser
from tests.imports.stub_world import OLD, World

EXAMPLES = int(os.environ.get("BEM_MIGRATE_EXAMPLES", "1600"))
CHUNKS = 4
# What is left to a person: the module is only held to compile and to settle.
EXCUSES = {"BM101", "BM102", "BM103", "BM106", "BM107", "BM109", "BM110", "BM111"}

FAILURES = (NameError, AttributeError, ImportError, TypeError)


class Trees:
    """What the rewriter is told of the modules around: the old ones, nothing, or the moved ones."""

    def __init__(self, root: Path) -> None:
        self.root = root
        stub_world.write_tree(stub_world.old_world(), root / "old")
        self.made = {"old": Tree([root / "old"])}

    def get(self, kind: str, moves: str, world: World) -> Tree | None:
        if kind == "none":
            return None
        key = "old" if kind == "old" else moves
        if key not in self.made:
            place = self.root / str(len(self.made))
            stub_world.write_tree(world, place)
            self.made[key] = Tree([place])
        return self.made[key]


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Trees:
    return Trees(tmp_path_factory.mktemp("world"))


@settings(
    derandomize=True,
    database=None,
    max_examples=200,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow],
)
@given(cases())
def test_shrunk(trees: Trees, one: Case) -> None:
    examine(one, trees, "old")


@pytest.mark.parametrize("chunk", range(CHUNKS))
@pytest.mark.parametrize("tree", ["old", "none", "moved"])
def test_seeded(trees: Trees, chunk: int, tree: str) -> None:
    seeds = range(chunk * EXAMPLES // CHUNKS, (chunk + 1) * EXAMPLES // CHUNKS)
    verdicts = Counter(examine(case(chooser(seed)), trees, tree) for seed in seeds)
    assert verdicts["same"] > verdicts["excused"] > 0, verdicts


@lru_cache(4096)
def worlds(text: str) -> tuple[Moves, World] | None:
    """Return a list of moves with the world after it; None when the list isn't valid or two things would collide."""
    try:
        moves = parse(text, "moves.yaml")
        return moves, stub_world.new_world(moves)
    except (MovesError, stub_world.Conflict):
        return None


def examine(one: Case, trees: Trees, kind: str) -> str:
    """Hold one case to every law; returns what kind of case it was.

    Args:
        one: The case.
        trees: Where the tree comes from.
        kind: ``old``, ``none``, or ``moved``: then the module in hand has been moved on disk, too.
    """
    known = worlds(one.moves)
    if known is None:
        return "no such list"
    moves, new = known
    new_name = stub_world.place(moves, one.name)[0]
    if not parents_exist(new, new_name):
        return "no such list"
    try:
        before = stub_world.run(one.code, stub_world.old_world(), one.name, one.is_package)
    except (SyntaxError, *FAILURES):
        return "does not run"
    tree = trees.get(kind, one.moves, new)
    here = Context("x.py", moves, tree, (new_name if kind == "moved" else one.name,), one.is_package)
    result = rewrite(one.code, here)
    out = apply(one.code, result.edits)
    story = f"{one.moves}# {one.name}\n{one.code}------>\n{out}"
    assert_laws(one.code, out, result, story)
    for name in {new_name, *([one.name] if kind != "moved" else [])}:
        again = rewrite(out, Context("x.py", moves, tree, (name,), one.is_package))
        assert not again.edits, f"not idempotent as {name}:\n{story}\n{again.edits}"
    if {finding.code for finding in result.findings} & EXCUSES or ("import *" in one.code and new.merges()):
        return "excused"
    try:
        after = stub_world.run(out, new, new_name, one.is_package)
    except FAILURES as error:
        raise AssertionError(f"no longer runs: {error!r}\n{story}") from error
    assert list(after.recorded) == stub_world.as_new(list(before.recorded), moves), story
    assert_bound(one.code, before, after, moves, story)
    return "same" if result.edits else "unchanged"


def parents_exist(world: World, module: str) -> bool:
    """Add the packages above the new place of the module in hand; False where a name stands in the way."""
    try:
        stub_world.add_module(world, module.rpartition(".")[0] or module)
        stub_world.no_shadowing(world)
    except stub_world.Conflict:
        return False
    return module not in OLD


def assert_laws(code: str, out: str, result: Rewrite, story: str) -> None:
    """Check what holds for every rewrite, whatever is left to a person."""
    codes = {finding.code for finding in result.findings}
    assert not codes & {"BM108", "BM113"}, f"{story}\n{result.findings}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compile(out, "<rewritten>", "exec", dont_inherit=True)
        assert skeleton(code) == skeleton(out), story
    left = iter(out.split("\n"))
    assert all(line in left for line in untouched(code, result)), f"a line without an edit changed or moved:\n{story}"
    assert not comments(code) - comments(out), f"a comment is gone:\n{story}"


def untouched(code: str, result: Rewrite) -> list[str]:
    """Return the lines outside import statements that no edit touches."""
    nodes = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Import | ast.ImportFrom)]
    touched = {line for node in nodes for line in range(node.lineno, (node.end_lineno or 0) + 1)}
    for edit in result.edits:
        touched |= set(range(code.count("\n", 0, edit.start) + 1, code.count("\n", 0, edit.end) + 2))
    return [line for number, line in enumerate(code.split("\n"), 1) if number not in touched]


def comments(code: str) -> Counter[str]:
    lines = io.StringIO(code).readline
    return Counter(token.string for token in tokenize.generate_tokens(lines) if token.type == tokenize.COMMENT)


def assert_bound(code: str, before: stub_world.Seen, after: stub_world.Seen, moves: Moves, story: str) -> None:
    """Check the names that the module binds; only those of ``import a.b`` may differ, and those of a star."""
    if "import *" in code:
        return
    roots = {module.partition(".")[0] for module in OLD}
    for name, value in before.names.items():
        if name in roots and isinstance(value, tuple) and value[0] == "module":
            continue
        assert after.names.get(name) == stub_world.as_new(value, moves), f"{name} is bound to another thing:\n{story}"


class _Skeleton(ast.NodeTransformer):
    """Leaves what no rewrite may touch: everything but imports, names, attributes and text."""

    def visit_Import(self, node: ast.Import) -> None:
        return None

    visit_ImportFrom = visit_Import

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:
        if isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.Attribute | ast.Name):
            return None  # such as `f = C.g`, which stands for part of an import
        return self.generic_visit(node)

    def visit_Global(self, node: ast.Global) -> None:
        return None

    visit_Nonlocal = visit_Global

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Name("_", ast.Load())

    visit_Attribute = visit_Name

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return ast.Constant("") if isinstance(node.value, str) else node


def skeleton(code: str) -> str:
    """Return a text that is equal for two modules which differ in names and imports alone."""
    return ast.dump(_Skeleton().visit(ast.parse(code)))


def test_skeleton_sees_more_than_names() -> None:
    assert skeleton("import a\nx(a.b, 1)\n") == skeleton("x(c, 1)\n")
    assert skeleton("x(a.b, 1)\n") != skeleton("x(a.b, 2)\n")
    assert skeleton("x(a[b])\n") != skeleton("x(a.b)\n")


def test_world_is_no_rubber_stamp() -> None:
    """The old module fails in the new world: equality after a rewrite says something."""
    moves, new = worlds("version: 1\nmoves:\n  - {old: pa.m, new: pz.k, kind: module}\n") or pytest.fail("valid")
    code = "import pa.m\nR(pa.m.f)\n"
    with pytest.raises(ModuleNotFoundError):
        stub_world.run(code, new, "user", False)
    result = rewrite(code, Context("x.py", moves, None, ("user",)))
    assert stub_world.run(apply(code, result.edits), new, "user", False).recorded == ("pa.m.f",)
