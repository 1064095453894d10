"""``import a.b.c``, which binds ``a``: its uses spell the module out, so they change with it."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING

from migrate.imports.python.groups import Group
from migrate.imports.python.scopes import Use

if TYPE_CHECKING:
    from migrate.imports.python.bindings import Binding
    from migrate.moves import Target


class RootedGroup(Group):
    """Statements and uses are respelled together, or the root keeps its name where all of it moved."""

    def plan(self) -> None:
        """Decide about statements and uses."""
        if len(self.members) < len(self.bindings):
            self._mixed()
            return
        changed = [use for use in self.uses if self._target(use) is not None]
        moved = [b for b in self.bindings if self.moves.resolve(b.imported) is not None]
        for binding in moved:
            target = self.moves.resolve(binding.imported)
            if target is not None and target.blocked:
                self.planner.judge(self.planner.place_of(binding.node), binding.imported, target)
        moved = [b for b in moved if self._new_module(b) != b.imported]
        if not moved and not any(self._respelled(use) for use in changed):
            for use in self.uses:
                self._check_kept(use, self._full(use), self._target(use))
            return
        if self.name in self.scope.bound or self._exported() or self._declared():
            self._keep_root(moved, changed)
            return
        self._rename(moved)

    def _mixed(self) -> None:
        """The name is bound to several things: report what moved, change nothing."""
        for use in self.uses:
            if any(self._shifts(use, b) for b in self.bindings) or self._respelled(use):
                self._ambiguous(use)
        self._unsafe_statement([b for b in self.members if self._new_module(b) != b.imported])

    def _full(self, use: Use) -> str:
        return ".".join([self.name, *self._path(use)])

    def _target(self, use: Use) -> Target | None:
        return self.moves.resolve(self._full(use))

    def _respelled(self, use: Use) -> bool:
        target = self._target(use)
        return target is not None and target.dotted != self._full(use)

    def _new_module(self, binding: Binding) -> str:
        target = self.moves.resolve(binding.imported)
        return target.dotted if target else binding.imported

    def _keep_root(self, moved: list[Binding], changed: list[Use]) -> None:
        """Keep the root name bound: possible where everything moved along with the root itself."""
        root = self.moves.resolve(self.name)
        new = root.dotted if root else self.name
        along = all(self._new_module(b) == new + b.imported[len(self.name) :] for b in self.members)
        along = along and all(
            (target := self._target(use)) is not None and target.dotted == new + self._full(use)[len(self.name) :]
            for use in self.uses
        )
        if not along or root is None:
            for use in changed:
                self._ambiguous(use)
            if not changed:
                self._unsafe_statement(moved)
            return
        for binding in moved:
            clause = f"{new} as {self.name}"
            module = self._new_module(binding)
            taken = self._overwrites(module.partition(".")[0])
            whole = f"{module} as {self.planner.fresh(module)}" if taken else module
            clauses = clause if module == new else f"{whole}, {clause}"
            self.planner.clauses[id(binding.node)][binding.index] = clauses

    def _unsafe_statement(self, moved: list[Binding]) -> None:
        for binding in moved:
            self.planner.report(
                self.planner.place_of(binding.node),
                "BM110",
                f"{binding.imported} moved, but {self.name!r} is bound in more than one way here",
                "rewrite this import by hand",
            )

    def _rename(self, moved: list[Binding]) -> None:
        """Respell the statements and every use that moved."""
        kept = [use for use in self.uses if not self._respelled(use)]
        for use in kept:
            self._check_kept(use, self._full(use), self._target(use))
        respelled = [use for use in self.uses if self._respelled(use)]
        modules = {id(use): self._module(use) for use in respelled}
        clash = {root for use in respelled if self._collides(root := modules[id(use)].partition(".")[0], use)}
        clash |= {root for b in moved if self._overwrites(root := self._new_module(b).partition(".")[0])}
        for binding in moved:
            self._statement(binding, kept, clash)
        for use in respelled:
            module = modules[id(use)]
            target = self._target(use)
            assert target is not None
            self.planner.judge(self._start(use), self._full(use), target)
            rest = target.dotted[len(module) :]
            name = self._alias(module) if module.partition(".")[0] in clash else module
            if self._respell(use, name + rest):
                self._reach(use, module, name)

    def _statement(self, binding: Binding, kept: list[Use], clash: set[str]) -> None:
        """Respell one ``import a.b.c``, and keep its unmoved parents where uses still go through them."""
        module = self._new_module(binding)
        target = self.moves.resolve(binding.imported)
        if target is not None and not target.blocked:
            self.planner.judge(self.planner.place_of(binding.node), binding.imported, target)
        clause = module
        if module.partition(".")[0] in clash:
            clause = f"{module} as {self._alias(module)}"
        parent = self._parent_still_used(binding, kept)
        self.planner.clauses[id(binding.node)][binding.index] = f"{parent}, {clause}" if parent else clause

    def _parent_still_used(self, binding: Binding, kept: list[Use]) -> str:
        """Return the longest unmoved parent of a moved module through which an unmoved use still goes."""
        parts = binding.imported.split(".")
        covering = [b for b in self.members if self._new_module(b) == b.imported]
        for length in range(len(parts) - 1, 0, -1):
            parent = ".".join(parts[:length])
            if self.moves.resolve(parent) is not None:
                continue
            through = [use for use in kept if f"{self._full(use)}.".startswith(f"{parent}.")]
            same = [b for b in covering if f"{b.imported}.".startswith(f"{parent}.")]
            if not all(any(self._precedes(b, use) for b in same) for use in through):
                return parent
        return ""

    def _module(self, use: Use) -> str:
        """Return the new module that a use goes through: the new place of the longest module imported for it."""
        full = self._full(use)
        target = self._target(use)
        assert target is not None
        parts = full.split(".")
        prefixes = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
        best = next(prefix for prefix in prefixes if prefix in self._imported)
        moved = self.moves.resolve(best)
        new = moved.dotted if moved else best
        if target.dotted == new + full[len(best) :] and not (moved and moved.blocked):
            return new
        if self._along(new, target):
            return new
        return self._module_of(full, target)

    @cached_property
    def _imported(self) -> frozenset[str]:
        """The modules that the statements import, with their parents."""
        split = (b.imported.split(".") for b in self.members)
        return frozenset(".".join(parts[:length]) for parts in split for length in range(1, len(parts) + 1))

    def _reach(self, use: Use, module: str, name: str) -> None:
        """Make sure that a use finds the module that it now spells ``name``."""
        available = [self._new_module(b) for b in self.members if self._precedes(b, use)]
        first = min(self.bindings, key=lambda b: (b.node.lineno, b.node.col_offset)).node
        if name != module:
            if module not in available:
                self.planner.insert(first, f"import {module} as {name}")
        elif not any(f"{a}.".startswith(f"{module}.") for a in available):
            self.planner.insert(first, f"import {module}")

    def _precedes(self, binding: Binding, use: Use) -> bool:
        """Whether an import is done when a use is reached, as far as the order in the text tells."""
        return self.planner.place_of(binding.node) < self._start(use)

    def _exported(self) -> bool:
        """Whether the module's ``__all__`` seems to list the name."""
        text = self.planner.source.text
        return "__all__" in text and re.search(rf"""['"]{self.name}['"]""", text) is not None
