"""Uses of an imported name, and the statements that must change with them.

All imports that bind one name in one scope are planned together. Where every use keeps its meaning under the rewritten
statements nothing in the body is touched; otherwise the chains that need it are respelled, and the modules they now
go through are imported beside the old statement.
"""

from __future__ import annotations

import ast
import re
from functools import cached_property
from typing import TYPE_CHECKING

from migrate.edits import Edit
from migrate.imports.python.chains import chain_spans
from migrate.imports.python.scopes import Scope, Use
from migrate.imports.python.targets import report_blocked, report_missing

if TYPE_CHECKING:
    from migrate.imports.python.bindings import Binding
    from migrate.imports.python.plan import Attribute, Planner
    from migrate.moves import Target


class Group:
    """The imports that bind one name in one scope, and the uses that see them."""

    def __init__(self, planner: Planner, scope: Scope, name: str, bindings: list[Binding], uses: list[Use]) -> None:
        self.planner = planner
        self.moves = planner.ctx.moves
        self.scope = scope
        self.name = name
        self.bindings = bindings
        self.uses = uses
        self.members = [b for b in bindings if b.plain]
        self.aliases: dict[str, str] = {}

    def plan(self) -> None:
        """Decide about statements and uses."""
        if any(b.dotted for b in self.bindings):
            self._rooted()
        else:
            self._bound()

    def _exported(self) -> bool:
        """Whether the module's ``__all__`` seems to list the name."""
        text = self.planner.source.text
        return "__all__" in text and re.search(rf"""['"]{self.name}['"]""", text) is not None

    def _path(self, use: Use) -> list[str]:
        constant = self.planner.attributes.get(id(use.nodes[-1]))
        return [*use.chain, constant.value] if constant is not None else list(use.chain)

    def _declared(self) -> bool:
        return any(b.declared for b in self.bindings)

    # One name, bound by ``from a import b``, ``import a.b as c`` or ``import a``: the name stays what it is.

    def _bound(self) -> None:
        for binding in self.members:
            self._keep_bound(binding)
        paths = {b.path: b for b in self.bindings}
        watched = [b for b in paths.values() if self.moves.leads_to(b.path) or self.moves.leads_to(b.new_path)]
        for use in self.uses if watched else ():
            if len(paths) == 1 and self.name not in self.scope.bound and not self._declared():
                self._bound_use(use, self.bindings[0])
            elif any(self._shifts(use, b) for b in watched):
                self._ambiguous(use)

    def _keep_bound(self, binding: Binding) -> None:
        """Plan ``import a`` whose name is to stay: ``import x as a``."""
        target = self.moves.resolve(binding.imported)
        if target is None:
            return
        alias = binding.node.names[binding.index]
        offset = self.planner.place_of(alias)
        if target.blocked:
            report_blocked(self.planner, offset, binding.imported, target)
        else:
            report_missing(self.planner, offset, binding.imported, target)
        if target.dotted != binding.imported:
            clause = f"{target.dotted} as {binding.name}"
            self.planner.clauses[id(binding.node)][binding.index] = clause

    def _shifts(self, use: Use, binding: Binding) -> bool:
        """Whether a use means something else than its binding plus its attributes after the moves."""
        rest = self._path(use)
        target = self.moves.resolve(".".join([binding.path, *rest]))
        return target is not None and target.dotted != ".".join([binding.new_path, *rest])

    def _ambiguous(self, use: Use) -> None:
        chain = ".".join([self.name, *use.chain])
        self.planner.report(
            chain_spans(self.planner.source, use)[0][0],
            "BM110",
            f"{chain} moved, but {self.name!r} is bound in more than one way here",
            "rewrite this use by hand",
        )

    def _bound_use(self, use: Use, binding: Binding) -> None:
        rest = self._path(use)
        full = ".".join([binding.path, *rest])
        target = self.moves.resolve(full)
        expected = ".".join([binding.new_path, *rest])
        if target is None or target.dotted == expected:
            self._check_kept(use, full, target)
            return
        if target.blocked:
            report_blocked(self.planner, self._start(use), full, target)
            return
        module = self._module_of(full, target)
        report_missing(self.planner, self._start(use), full, target)
        root = module.partition(".")[0]
        if module == binding.new_path:
            self._respell(use, self.name + target.dotted[len(module) :])
        elif self._collides(root, use):
            alias = self._alias(module)
            if self._respell(use, alias + target.dotted[len(module) :]):
                self.planner.insert(binding.node, f"import {module} as {alias}")
        elif self._respell(use, target.dotted):
            self.planner.insert(binding.node, f"import {module}")

    def _check_kept(self, use: Use, full: str, target: Target | None) -> None:
        """Report what needs a look about a use that keeps its spelling."""
        if target is not None and target.blocked:
            report_blocked(self.planner, self._start(use), full, target)
        elif target is not None and use.chain:
            report_missing(self.planner, self._start(use), full, target)
        called = isinstance(use.parent, ast.Call) and use.parent.func is use.nodes[-1]
        if self.moves.leads_to(full) and not called and not isinstance(use.parent, ast.Expr | ast.Attribute):
            spelled = ".".join([self.name, *use.chain])
            self.planner.report(
                self._start(use),
                "BM103",
                f"module {full} is passed on as an object ({spelled}); names that moved out of it are not seen there",
                "check what is read from it, and import moved names from their new modules",
            )

    # ``import a.b.c``, which binds ``a``: its uses spell the module out, so they change with it.

    def _mixed(self) -> None:
        """The name is bound to several things: report what moved, change nothing."""
        for use in self.uses:
            if any(self._shifts(use, b) for b in self.bindings) or self._respelled(use):
                self._ambiguous(use)
        self._unsafe_statement([b for b in self.members if self._new_module(b) != b.imported])

    def _rooted(self) -> None:
        if len(self.members) < len(self.bindings):
            self._mixed()
            return
        changed = [use for use in self.uses if self._target(use) is not None]
        moved = [b for b in self.bindings if self.moves.resolve(b.imported) is not None]
        for binding in moved:
            target = self.moves.resolve(binding.imported)
            if target is not None and target.blocked:
                report_blocked(self.planner, self.planner.place_of(binding.node), binding.imported, target)
        moved = [b for b in moved if self._new_module(b) != b.imported]
        if not moved and not any(self._respelled(use) for use in changed):
            for use in self.uses:
                self._check_kept(use, self._full(use), self._target(use))
            return
        if self.name in self.scope.bound or self._exported() or self._declared():
            self._keep_root(moved, changed)
            return
        self._rename(moved)

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
        modules = {id(use): self._rooted_module(use) for use in respelled}
        clash = {root for use in respelled if self._collides(root := modules[id(use)].partition(".")[0], use)}
        clash |= {root for b in moved if self._overwrites(root := self._new_module(b).partition(".")[0])}
        for binding in moved:
            self._statement(binding, kept, clash)
        for use in respelled:
            module = modules[id(use)]
            target = self._target(use)
            assert target is not None
            if target.blocked:
                report_blocked(self.planner, self._start(use), self._full(use), target)
            else:
                report_missing(self.planner, self._start(use), self._full(use), target)
            rest = target.dotted[len(module) :]
            name = self._alias(module) if module.partition(".")[0] in clash else module
            if self._respell(use, name + rest):
                self._reach(use, module, name)

    def _statement(self, binding: Binding, kept: list[Use], clash: set[str]) -> None:
        """Respell one ``import a.b.c``, and keep its unmoved parents where uses still go through them."""
        module = self._new_module(binding)
        target = self.moves.resolve(binding.imported)
        if target is not None and not target.blocked:
            report_missing(self.planner, self.planner.place_of(binding.node), binding.imported, target)
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

    def _rooted_module(self, use: Use) -> str:
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
        return self._module_of(full, target)

    @cached_property
    def _imported(self) -> frozenset[str]:
        """The modules that the statements import, with their parents."""
        split = (b.imported.split(".") for b in self.members)
        return frozenset(".".join(parts[:length]) for parts in split for length in range(1, len(parts) + 1))

    def _module_of(self, full: str, target: Target) -> str:
        """Return the module part of a target, as far as the entry that made it tells."""
        if target.module_length:
            return target.module
        new = target.move.new
        return new if f"{target.dotted}.".startswith(f"{new}.") else target.dotted.rpartition(".")[0] or target.dotted

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
        """Whether an import is done when a use is reached: it stands before it, or the use is in a function."""
        if use.scope is not self.scope:
            return True
        return self.planner.place_of(binding.node) < self._start(use)

    def _alias(self, module: str) -> str:
        if module not in self.aliases:
            self.aliases[module] = self.planner.fresh(module)
        return self.aliases[module]

    def _collides(self, root: str, use: Use) -> bool:
        """Whether ``root`` would mean something else at a use, or importing it here would hide another thing."""
        if root == self.name and not self._is_alias():
            return False
        scope: Scope | None = use.scope
        while scope is not None and scope is not self.scope:
            # Even an import of the same package counts: nothing says that it comes before the use.
            if scope.holds(root):
                return True
            scope = scope.parent
        return self._overwrites(root)

    def _overwrites(self, root: str) -> bool:
        """Whether importing ``root`` in this scope would overwrite or hide something of that name."""
        if root == self.name and not self._is_alias():
            return False
        taken = root in self.scope.imports and not self._roots_only(self.scope, root)
        return taken or root in self.scope.bound or self._hides(root)

    def _is_alias(self) -> bool:
        return any(not b.plain for b in self.bindings)

    def _hides(self, root: str) -> bool:
        """Whether uses of ``root`` below this scope see another binding today."""
        for use in self.planner.found.uses:
            if use.name == root and self._below(use.scope):
                seen = use.scope.lookup(root)
                if seen is None or not self._below(seen):
                    return True
        return False

    def _below(self, scope: Scope | None) -> bool:
        while scope is not None and scope is not self.scope:
            scope = scope.parent
        return scope is self.scope

    def _roots_only(self, scope: Scope, root: str) -> bool:
        """Whether every import of ``root`` in a scope binds the top-level package of that name."""
        nodes = scope.imports.get(root, ())
        return root not in scope.bound and all(
            isinstance(node, ast.Import)
            and any(a.asname is None and a.name.partition(".")[0] == root for a in node.names)
            and not any(a.asname == root for a in node.names)
            for node in nodes
        )

    # Edits of uses.

    def _start(self, use: Use) -> int:
        return chain_spans(self.planner.source, use)[0][0]

    def _respell(self, use: Use, new: str) -> bool:
        """Replace as few leading components of a chain as the new spelling demands.

        Returns:
            Whether it could be done; if not, there is a finding.
        """
        spans = chain_spans(self.planner.source, use)
        constant = self.planner.attributes.get(id(use.nodes[-1]))
        parts, rest = new.split("."), [self.name, *use.chain]
        whole = spans[0][0], spans[-1][1]
        plain = re.sub(r"[\s\\]", "", self.planner.source.text[slice(*whole)]) == ".".join(rest)
        # With one component left there is nothing to take an attribute from, and a pattern would bind a name.
        bare = len(parts) < 2 and (constant is not None or isinstance(use.parent, ast.MatchValue))
        if bare or not plain:
            self._ambiguous(use)
            return False
        if constant is not None:
            parts = self._respell_attribute(constant, parts)
        while len(parts) > 1 and len(rest) > 1 and parts[-1] == rest[-1]:
            parts.pop()
            rest.pop()
        start, end = whole[0], spans[len(rest) - 1][1]
        kind = "annotation" if use.base >= 0 else "attribute"
        if self.planner.source.text[start:end] != ".".join(parts):
            self.planner.plan.edits.append(Edit(start, end, ".".join(parts), kind))
        return True

    def _respell_attribute(self, constant: Attribute, parts: list[str]) -> list[str]:
        """Rewrite the attribute in ``getattr(module, "name")``; returns the spelling of the object before it."""
        if parts[-1] != constant.value:
            start, end = self.planner.source.span(constant.node)
            text = self.planner.source.text[start:end]
            self.planner.plan.edits.append(Edit(start, end, text.replace(constant.value, parts[-1]), "string"))
        return parts[:-1]
