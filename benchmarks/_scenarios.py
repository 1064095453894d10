"""What is moved in each scenario. Every old module of the installed packages exists in the pinned versions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Move:
    """A module under its old and its new dotted name."""

    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Scenario:
    """Moves to be made in one tree.

    Attributes:
        key: Name on the command line.
        title: What the scenario stands for.
        tree: Which tree: ``project``, ``packages`` or ``forest``.
        moves: The five moves.
        roots: Folders of the tree that dotted names start from.
    """

    key: str
    title: str
    tree: str
    moves: tuple[Move, ...]
    roots: tuple[str, ...] = (".",)


PROJECT_MOVES = (
    Move("bem.controller", "bem_legacy.controller"),
    Move("bem.retrieval_bem", "bem_legacy.retrieval_bem"),
    Move("bem2.router.unified_trainer", "bem2.router.trainer"),
    Move("bem2.evaluation.evaluation_framework", "bem2.evaluation.framework"),
    Move("bem_core.config.config_loader", "bem_core.config.loading"),
)
FEW_MOVES = (
    Move("networkx.utils.decorators", "networkx.utils.argument_map"),
    Move("sympy.geometry.point", "sympy.geometry.location"),
    Move("sympy.ntheory.generate", "sympy.ntheory.prime_numbers"),
    Move("numpy._core.numerictypes", "numpy._core.scalar_types"),
    Move("sympy.polys.orderings", "sympy.polys.monomial_orders"),
)
MANY_MOVES = (
    Move("sympy.core.symbol", "sympy.core.variables"),
    Move("sympy.core.singleton", "sympy.core.unique"),
    Move("sympy.core.function", "sympy.core.application"),
    Move("networkx.exception", "networkx.failures"),
    Move("sympy.core.containers", "sympy.core.sequences"),
)
SCENARIOS = {
    scenario.key: scenario
    for scenario in (
        Scenario("i", "a project before its migration, 30 files to change", "project", PROJECT_MOVES, ("src", ".")),
        Scenario("ii", "few: rarely used modules of installed packages", "packages", FEW_MOVES),
        Scenario("iii", "many: hot modules, a third of the files", "packages", MANY_MOVES),
        Scenario("iv", "none: no old name occurs anywhere", "forest", PROJECT_MOVES),
    )
}


def mapping(moves: tuple[Move, ...]) -> str:
    """Return ``moves`` in the format of ``bem-migrate imports --mapping``."""
    lines = (f"  - {{old: {move.old}, new: {move.new}, kind: module}}\n" for move in moves)
    return "version: 1\nmoves:\n" + "".join(lines)


def move_files(tree: Path, moves: tuple[Move, ...]) -> None:
    """Rename the modules themselves in ``tree``: what is left to do is what the tools are measured at."""
    for move in moves:
        path = tree / (move.old.replace(".", "/") + ".py")
        if path.exists():
            path.rename(tree / (move.new.replace(".", "/") + ".py"))
