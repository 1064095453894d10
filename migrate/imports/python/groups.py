"""Uses of an imported name, and the statements that must change with them.

All imports that bind one name in one scope are planned together. Where every use keeps its meaning under the rewritten
statements nothing in the body is touched; otherwise the chains that need it are respelled, and the modules they now
go through are imported beside the old statement. Here is what `bound` and `rooted` share.
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from migrate.edits import Edit
from migrate.imports.python.chains import chain_spans
from migrate.imports.python.scopes import Scope, Use

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
        self._overwritten: dict[str, bool] = {}

    def _path(self, use: Use) -> list[str]:
        constant = self.planner.attributes.get(id(use.nodes[-1]))
        return [*use.chain, constant.value] if constant is not None else list(use.chain)

    def _declared(self) -> bool:
        return any(b.declared for b in self.bindings)

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

    def _check_kept(self, use: Use, full: str, target: Target | None) -> None:
        """Report what needs a look about a use that keeps its spelling."""
        if (target is not None and target.blocked) or (target is not None and use.chain):
            self.planner.judge(self._start(use), full, target)
        called = isinstance(use.parent, ast.Call) and use.parent.func is use.nodes[-1]
        if self.moves.loses(full) and not called and not isinstance(use.parent, ast.Expr | ast.Attribute):
            spelled = ".".join([self.name, *use.chain])
            self.planner.report(
                self._start(use),
                "BM103",
                f"module {full} is passed on as an object ({spelled}); names that moved out of it are not seen there",
                "check what is read from it, and import moved names from their new modules",
            )

    def _module_of(self, full: str, target: Target) -> str:
        """Return the module part of a target, as far as the entry that made it tells."""
        if target.module_length:
            return target.module
        new = target.move.new
        return new if f"{target.dotted}.".startswith(f"{new}.") else target.dotted.rpartition(".")[0] or target.dotted

    def _along(self, package: str, target: Target) -> bool:
        """Whether a moved module is reached through a package as the old one was: whoever loads it loads the new one.

        An import of it here could close a circle that wasn't there.
        """
        return not target.module_length and target.dotted.startswith(f"{package}.")

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
        if root not in self._overwritten:
            self._overwritten[root] = self._takes(root)
        return self._overwritten[root]

    def _takes(self, root: str) -> bool:
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
