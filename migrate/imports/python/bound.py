"""A name bound by ``from a import b``, ``import a.b as c`` or ``import a``: it stays what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migrate.imports.python.groups import Group
from migrate.imports.python.scopes import Use

if TYPE_CHECKING:
    from migrate.imports.python.bindings import Binding


class BoundGroup(Group):
    """Statements keep their names; uses change only where they reach something that left its module."""

    def plan(self) -> None:
        """Decide about statements and uses."""
        for binding in self.members:
            self._keep(binding)
        paths = {b.path: b for b in self.bindings}
        watched = [b for b in paths.values() if self.moves.leads_to(b.path) or self.moves.leads_to(b.new_path)]
        for use in self.uses if watched else ():
            if len(paths) == 1 and self.name not in self.scope.bound and not self._declared():
                self._use(use, self.bindings[0])
            elif any(self._shifts(use, b) for b in watched):
                self._ambiguous(use)

    def _keep(self, binding: Binding) -> None:
        """Plan ``import a`` whose name is to stay: ``import x as a``."""
        target = self.moves.resolve(binding.imported)
        if target is None:
            return
        alias = binding.node.names[binding.index]
        offset = self.planner.place_of(alias)
        self.planner.judge(offset, binding.imported, target)
        if target.dotted != binding.imported:
            clause = f"{target.dotted} as {binding.name}"
            self.planner.clauses[id(binding.node)][binding.index] = clause

    def _use(self, use: Use, binding: Binding) -> None:
        rest = self._path(use)
        full = ".".join([binding.path, *rest])
        target = self.moves.resolve(full)
        expected = ".".join([binding.new_path, *rest])
        if target is None or target.dotted == expected:
            self._check_kept(use, full, target)
            return
        if target.blocked:
            self.planner.judge(self._start(use), full, target)
            return
        module = self._module_of(full, target)
        self.planner.judge(self._start(use), full, target)
        root = module.partition(".")[0]
        if module == binding.new_path or self._along(binding.new_path, target):
            self._respell(use, self.name + target.dotted[len(binding.new_path) :])
        elif self._collides(root, use):
            alias = self._alias(module)
            if self._respell(use, alias + target.dotted[len(module) :]):
                self.planner.insert(binding.node, f"import {module} as {alias}")
        elif self._respell(use, target.dotted):
            self.planner.insert(binding.node, f"import {module}")
