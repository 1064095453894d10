"""Star imports: the module follows its move; names that moved out of it are imported beside it, when that is sure."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from migrate.edits import Edit
from migrate.imports.python.anchor import Anchor, spell
from migrate.imports.python.scopes import Scope
from migrate.imports.python.statements import Placed, StatementEdit, edit_from, join

if TYPE_CHECKING:
    from migrate.imports.python.plan import Planner

_HINT = "import the names that are used one by one"


def plan(planner: Planner, node: ast.ImportFrom, reading: Anchor, scope: Scope) -> None:
    """Plan ``from m import *``."""
    star = _Star(planner, node, reading, scope)
    leaving = star.leaving()
    blocked = star.target is not None and star.target.blocked
    if leaving is None:
        what = f"star import of {reading.base}: names that moved elsewhere may come with it"
        planner.report(planner.place_of(node), "BM101", what, _HINT)
        leaving = []
    if star.target is not None and blocked and (blocked == "shim_only" or not leaving or star.left_behind(leaving)):
        planner.judge(planner.place_of(node), reading.base, star.target)
        return
    star.edit("" if blocked else star.new, leaving)


class _Star:
    """One star import."""

    def __init__(self, planner: Planner, node: ast.ImportFrom, reading: Anchor, scope: Scope) -> None:
        self.planner = planner
        self.node = node
        self.reading = reading
        self.scope = scope
        self.base = reading.base
        self.moves = planner.ctx.moves
        self.target = self.moves.resolve(self.base)
        self.new = self.target.dotted if self.target else self.base
        self.exports = planner.ctx.tree.exports(self.base) if planner.ctx.tree is not None else None

    def leaving(self) -> list[str] | None:
        """Return the names that the star brings here and that go elsewhere than their module; None when not sure."""
        blocked = self.target is not None and bool(self.target.blocked)
        if not (self.moves.leads_to(self.base) or blocked):
            return []
        prefix = f"{self.base}."
        below = [old[len(prefix) :].split(".") for old in self.moves.entries if old.startswith(prefix)]
        mentioned = {parts[0] for parts in below if self._elsewhere(parts[0]) and self._mentioned(parts[0])}
        deeper = any(len(p) > 1 and not self._elsewhere(p[0]) and self._mentioned(*p[:2]) for p in below)
        if not mentioned and not deeper and not blocked:
            return []
        exports = self.exports
        if deeper or exports is None or exports.star is None or not exports.complete:
            return None
        if mentioned - exports.names:
            return None
        return sorted(mentioned & set(exports.star))

    def _elsewhere(self, name: str) -> bool:
        """Whether a name does not go where its module goes."""
        found = self.moves.resolve(f"{self.base}.{name}")
        if found is None or found.dotted == f"{self.new}.{name}":
            return False
        return bool(found.module_length) or not self._still_bound(name)

    def _still_bound(self, name: str) -> bool:
        """Whether a package binds the name of a module that has left it: its star goes on bringing it."""
        tree = self.planner.ctx.tree
        bound = self.exports is not None and name in self.exports.names
        return bound and tree is not None and tree.find(f"{self.base}.{name}") is None

    def _mentioned(self, *names: str) -> bool:
        """Whether this module may use or hand on a name: it occurs in it, or the module is a package's front."""
        pattern = r"[\s\\]*\.[\s\\]*".join(map(re.escape, names))
        front = self.planner.ctx.is_package and len(names) == 1
        return front or re.search(rf"(?<![\w.]){pattern}\b", self.planner.source.text) is not None

    def left_behind(self, leaving: list[str]) -> bool:
        """Whether names that may be used here have no new place."""
        if self.exports is None or self.exports.star is None:
            return True
        return any(self._mentioned(name) for name in set(self.exports.star) - set(leaving))

    def _done(self, place: Placed) -> bool:
        """Whether an earlier run has put the import of a name behind the star already."""
        _, end = self.planner.source.span(self.node)
        head = rf"from\s+{re.escape(place.module)}\s+import" if place.module else "import"
        clause = re.escape(place.clause())
        if place.attribute:
            gap = r"(?:\s+as\s+\w+)?(?:[ \t]*#[^\r\n]*)?[\s;]+"
            clause = rf"{place.name}{gap}{place.bound}\s*=\s*\w+\.{re.escape(place.attribute)}"
        return re.compile(rf"\b{head}\s+{clause}(?!\w)").search(self.planner.source.text, end) is not None

    def edit(self, new: str, leaving: list[str]) -> None:
        """Respell the star, or drop it for an empty ``new``, and import the names that leave."""
        planner, node, reading = self.planner, self.node, self.reading
        spelled = "." * node.level + (node.module or "")
        module = spell(node, reading, new) if new else ""
        placed = [planner.place(f"{self.base}.{name}", name, name, node, reading) for name in leaving]
        same = [Placed(spelled, name, name) for name in leaving]
        fresh = [place for place, old in zip(placed, same, strict=True) if place != old and not self._done(place)]
        extra = [statement for place in fresh for statement in place.statements()]
        if not extra:
            if new and module != spelled:
                planner.apply(node, edit_from(planner.source, node, spelled, [Placed(module, "*", "*")]))
            return
        statements = [*([f"from {module} import *"] if new else []), *extra]
        start, end = planner.source.span(node)
        text = join(planner.source, start, end, statements)
        planner.apply(node, StatementEdit([Edit(start, end, text, "star import")], len(statements)))
