"""What each import statement binds, before and after the moves."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from migrate.imports.context import Context
from migrate.imports.python.anchor import Anchor, Problem, anchor, new_name
from migrate.imports.python.scopes import ImportSite, Scope
from migrate.moves import Moves


@dataclass(eq=False, slots=True)
class Binding:
    """One name bound by an import statement.

    Attributes:
        name: The bound name.
        path: Old dotted name of what it is bound to. For ``import a.b.c`` that is ``a``.
        imported: Old dotted name of what is imported: ``a.b.c``.
        node: The statement.
        index: Number of the alias within it.
        scope: The scope in which the name is bound.
        new_path: Where ``path`` is after the moves, as this binding will be rewritten.
        declared: Whether a ``global`` or ``nonlocal`` carries the name out of the statement's own scope.
    """

    name: str
    path: str
    imported: str
    node: ast.Import | ast.ImportFrom
    index: int
    scope: Scope
    new_path: str
    declared: bool = False

    @property
    def dotted(self) -> bool:
        """Whether this is ``import a.b.c``, which binds only ``a``."""
        return self.path != self.imported

    @property
    def plain(self) -> bool:
        """Whether this is ``import a``, with or without dots, and no alias."""
        return isinstance(self.node, ast.Import) and self.node.names[self.index].asname is None


@dataclass(slots=True)
class Read:
    """The bindings of one import statement, or the problem with reading it."""

    site: ImportSite
    reading: Anchor | Problem | None
    bindings: list[Binding]

    @property
    def star(self) -> bool:
        """Whether this is ``from m import *``."""
        return self.site.node.names[0].name == "*"


def read(sites: Iterable[ImportSite], ctx: Context) -> Iterator[Read]:
    """Resolve what the import statements of a module bind."""
    for site in sites:
        if isinstance(site.node, ast.Import):
            yield Read(site, Anchor(""), list(_plain(site, site.node, ctx)))
            continue
        reading = anchor(site.node, ctx)
        if not isinstance(reading, Anchor) or site.node.names[0].name == "*":
            yield Read(site, reading, [])
            continue
        yield Read(site, reading, list(_from(site, site.node, reading, ctx)))


def _plain(site: ImportSite, node: ast.Import, ctx: Context) -> Iterator[Binding]:
    for index, alias in enumerate(node.names):
        path = alias.name if alias.asname else alias.name.partition(".")[0]
        name = alias.asname or path
        declared = name in site.scope.declared
        yield Binding(name, path, alias.name, node, index, site.scope.owner(name), new_name(ctx, path), declared)


def _from(site: ImportSite, node: ast.ImportFrom, reading: Anchor, ctx: Context) -> Iterator[Binding]:
    touched = ctx.moves.match(reading.base)[0] is not None or ctx.moves.leads_to(reading.base)
    for index, alias in enumerate(node.names):
        path = f"{reading.base}.{alias.name}"
        name = alias.asname or alias.name
        new = new_name(ctx, path) if touched else path
        declared = name in site.scope.declared
        yield Binding(name, path, path, node, index, site.scope.owner(name), new, declared)


def names_to_watch(reads: Iterable[Read], moves: Moves) -> set[str]:
    """Return the bound names whose uses can matter: an old name lies below what they are bound to, or is it."""
    names: set[str] = set()
    for one in reads:
        for binding in one.bindings:
            if moves.leads_to(binding.path) or (binding.plain and moves.resolve(binding.imported) is not None):
                names.add(binding.name)
    return names


def new_roots(names: Iterable[str], moves: Moves) -> set[str]:
    """Return the first components of every new name that a watched name may turn into."""
    return {new.partition(".")[0] for move in moves.entries.values() if (new := move.new)} if any(names) else set()
