"""What a relative import means, and how to spell a module from a given place."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from migrate.imports.context import Context
from migrate.imports.tree import absolute


@dataclass(frozen=True, slots=True)
class Anchor:
    """One reading of a ``from`` import.

    Attributes:
        base: Absolute dotted name of the module imported from.
        package: New dotted name of the package the statement stands in; empty for absolute imports.
        stays: Whether the file's own module keeps its name.
    """

    base: str
    package: str = ""
    stays: bool = True


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a relative import has no single reading."""

    code: str
    message: str
    hint: str


def new_name(ctx: Context, dotted: str) -> str:
    """Return where a dotted name leads; itself when it is not old."""
    target = ctx.moves.resolve(dotted)
    return target.dotted if target else dotted


def anchor(node: ast.ImportFrom, ctx: Context) -> Anchor | Problem | None:
    """Find the module that a ``from`` statement names.

    Returns:
        The reading; a problem to report; or None for a relative import in a file that is in no package.
    """
    if not node.level:
        return Anchor(node.module or "")
    if not ctx.modules:
        return None
    readings = [reading for module in ctx.modules if (reading := _reading(node, ctx, module)) is not None]
    if not readings:
        return Problem(
            "BM111",
            f"relative import climbs {node.level} levels, above the top of {ctx.modules[0]!r}",
            "write the absolute name of the module that is meant",
        )
    names = [alias.name for alias in node.names]
    moved = [r for r in readings if not r.stays or any(ctx.moves.resolve(f"{r.base}.{name}") for name in names)]
    pool = moved or readings
    meanings = {tuple(_whatever_root(ctx, f"{r.base}.{name}") for name in names) for r in pool}
    if moved and len(meanings) > 1 and ctx.tree is not None:
        pool = [r for r in pool if ctx.tree.find(r.base)] or pool
        meanings = {tuple(_whatever_root(ctx, f"{r.base}.{name}") for name in names) for r in pool}
    if moved and len(meanings) > 1:
        bases = " or ".join(sorted({r.base for r in pool}))
        return Problem("BM109", f"relative import means {bases}", "name one root with --source-root")
    return min(pool, key=lambda r: not r.stays)


def _whatever_root(ctx: Context, dotted: str) -> str:
    """Return the new name of a name, the same for every root through which it can be spelled."""
    new = new_name(ctx, dotted)
    for prefix, packages in ctx.tree.prefixes.items() if ctx.tree else ():
        rest = new.removeprefix(f"{prefix}.")
        if rest != new and rest.partition(".")[0] in packages:
            return rest
    return new


def _reading(node: ast.ImportFrom, ctx: Context, module: str) -> Anchor | None:
    """Read a relative import in the file known as ``module``, or as it was meant where the file came from.

    A file that was moved on disk already, but not yet edited, means what it meant at its old place: that reading is
    taken where the other leads to nothing.
    """
    here = _climb(node, ctx, module)
    if ctx.tree is None or (here is not None and _leads_somewhere(node, ctx, here.base)):
        return here
    for origin in ctx.moves.origins(module):
        base = absolute(node.level, node.module or "", origin, ctx.is_package)
        if base is not None and _leads_somewhere(node, ctx, base):
            return Anchor(base, module if ctx.is_package else module.rpartition(".")[0], stays=False)
    return here


def _leads_somewhere(node: ast.ImportFrom, ctx: Context, base: str) -> bool:
    """Whether a module is in the tree, now or under its new name, and has the names that are wanted of it."""
    tree = ctx.tree
    assert tree is not None
    if tree.find(base) is None and tree.find(new_name(ctx, base)) is None:
        return False
    wanted = [alias.name for alias in node.names if alias.name != "*"]
    return not any(tree.has(base, name) is False and not ctx.moves.resolve(f"{base}.{name}") for name in wanted)


def _climb(node: ast.ImportFrom, ctx: Context, module: str) -> Anchor | None:
    """Read a relative import in the file known as ``module``; None when it climbs too far."""
    base = absolute(node.level, node.module or "", module, ctx.is_package)
    if base is None:
        return None
    renamed = new_name(ctx, module)
    home = renamed if ctx.is_package else renamed.rpartition(".")[0]
    return Anchor(base, home, stays=renamed == module)


def relative(package: str, module: str) -> str | None:
    """Spell ``module`` relative to ``package``: ``.x``, ``..x.y``; None when they share no top-level package."""
    here, there = package.split("."), module.split(".")
    common = 0
    while common < min(len(here), len(there)) and here[common] == there[common]:
        common += 1
    if not common:
        return None
    return "." * (len(here) - common + 1) + ".".join(there[common:])


def spell(node: ast.ImportFrom, reading: Anchor, module: str) -> str:
    """Spell the new module of a ``from`` statement: relative in, relative out where that holds before and after.

    A file that moves along with its package keeps its relative imports; one that leaves its neighbours gets absolute
    ones, which are right whether or not the file has been moved on disk yet.
    """
    if not node.level:
        return module
    new = relative(reading.package, module)
    current = "." * node.level + (node.module or "")
    if new is not None and (new == current or reading.stays):
        return new
    return module
