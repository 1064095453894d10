"""Scopes of a module: where the names of interest are bound and used.

Only what touches an interesting line is visited: whatever binds or uses a name has that name on one of its lines, so
a statement without an interesting line can be skipped whole. That is what keeps the cost near that of the parse.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Literal

from migrate.imports.python.source import Lines

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Comprehension = ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp
ImportNode = ast.Import | ast.ImportFrom


@dataclass(eq=False, slots=True)
class Scope:
    """A namespace: module, class, or function (lambdas and comprehensions are functions).

    Attributes:
        kind: What opened it.
        parent: The enclosing scope; None for the module.
        bound: Names bound here by something other than an import.
        imports: Names bound here by an import, with the statements that do.
        declared: Names under ``global`` or ``nonlocal``.
    """

    kind: Literal["module", "class", "function"]
    parent: Scope | None
    bound: set[str] = field(default_factory=set)
    imports: dict[str, list[ImportNode]] = field(default_factory=dict)
    declared: dict[str, Literal["global", "nonlocal"]] = field(default_factory=dict)

    def holds(self, name: str) -> bool:
        """Whether the name is bound in this very scope."""
        return name in self.bound or name in self.imports

    def root(self) -> Scope:
        """Return the module scope."""
        scope = self
        while scope.parent is not None:
            scope = scope.parent
        return scope

    def owner(self, name: str) -> Scope:
        """Return the scope in which binding ``name`` here takes effect."""
        declared = self.declared.get(name)
        if declared == "global":
            return self.root()
        if declared == "nonlocal":
            return next((s for s in self.enclosing() if s.kind == "function" and s.holds(name)), self)
        return self

    def enclosing(self) -> Iterator[Scope]:
        """Yield the scopes in which a name not bound here is looked up: no class but the innermost."""
        scope = self.parent
        while scope is not None:
            if scope.kind != "class":
                yield scope
            scope = scope.parent

    def lookup(self, name: str) -> Scope | None:
        """Return the scope whose binding a use of ``name`` here sees, or None for a builtin or star import."""
        if name in self.declared:
            return self.owner(name)
        return next((s for s in (self, *self.enclosing()) if s.holds(name)), None)


@dataclass(slots=True)
class Use:
    """A name of interest where it is read, or the longest attribute chain that starts with it.

    Attributes:
        name: The first component.
        chain: The attributes after it.
        nodes: The nodes of the chain, innermost first: the name, then one attribute node a component.
        scope: Scope the use stands in.
        parent: The node around the chain.
        joined: The f-string around it, whose inner positions cannot be trusted before Python 3.12.
        base: Offset of the annotation string the nodes were parsed from; -1 for ordinary code.
        body: Text of that string.
    """

    name: str
    chain: tuple[str, ...]
    nodes: tuple[ast.expr, ...]
    scope: Scope
    parent: ast.AST | None
    joined: ast.JoinedStr | None = None
    base: int = -1
    body: str = ""


@dataclass(slots=True)
class ImportSite:
    """An import statement and where it stands."""

    node: ImportNode
    scope: Scope


@dataclass(slots=True)
class Text:
    """A string constant on an interesting line, with the nodes around it, outermost first."""

    node: ast.Constant
    parents: tuple[ast.AST, ...]
    scope: Scope
    docstring: bool = False
    annotation: bool = False


@dataclass(slots=True)
class Call:
    """A call on an interesting line, the scope it is evaluated in, and the node around it."""

    node: ast.Call
    scope: Scope
    parent: ast.AST


@dataclass(slots=True)
class Found:
    """All that a walk saw."""

    module: Scope
    sites: list[ImportSite] = field(default_factory=list)
    uses: list[Use] = field(default_factory=list)
    texts: list[Text] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    joined: list[ast.JoinedStr] = field(default_factory=list)


class Walker:
    """Visits what touches the interesting lines, with the scope each node is evaluated in."""

    def __init__(self, lines: Lines, names: Collection[str], with_expressions: bool = True) -> None:
        self.lines = lines
        self.names = names
        self.with_expressions = with_expressions
        self.found = Found(Scope("module", None))
        self._parents: list[ast.AST] = []
        self._joined: ast.JoinedStr | None = None
        self._annotation = False

    def walk(self, tree: ast.Module) -> Found:
        """Visit a whole module."""
        self._parents.append(tree)
        self._body(tree.body, self.found.module, docstring=True)
        return self.found

    def _body(self, body: list[ast.stmt], scope: Scope, docstring: bool = False) -> None:
        touch = self.lines.touch
        for number, statement in enumerate(body):
            first = statement.lineno
            if (
                isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
                and statement.decorator_list
            ):
                first = min(first, statement.decorator_list[0].lineno)
            if touch(first, statement.end_lineno or first):
                if docstring and not number and isinstance(statement, ast.Expr):
                    self._docstring(statement, scope)
                else:
                    self._statement(statement, scope)

    def _docstring(self, statement: ast.Expr, scope: Scope) -> None:
        value = statement.value
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            if self.with_expressions:
                self.found.texts.append(Text(value, tuple(self._parents), scope, docstring=True))
        else:
            self._statement(statement, scope)

    def _statement(self, node: ast.stmt, scope: Scope) -> None:
        if isinstance(node, ast.Import | ast.ImportFrom):
            self._import(node, scope)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            self._function(node, scope)
        elif isinstance(node, ast.ClassDef):
            self._class(node, scope)
        elif isinstance(node, ast.Global | ast.Nonlocal):
            kind: Literal["global", "nonlocal"] = "global" if isinstance(node, ast.Global) else "nonlocal"
            scope.declared.update((name, kind) for name in node.names)
        else:
            self._parents.append(node)
            self._children(node, scope)
            self._parents.pop()

    def _import(self, node: ImportNode, scope: Scope) -> None:
        self.found.sites.append(ImportSite(node, scope))
        for alias in node.names:
            name = alias.asname or (alias.name.partition(".")[0] if isinstance(node, ast.Import) else alias.name)
            scope.owner(name).imports.setdefault(name, []).append(node)

    def _children(self, node: ast.AST, scope: Scope) -> None:
        """Visit the parts of a node that are evaluated in the node's own scope."""
        for name in node._fields:
            value = getattr(node, name, None)
            if isinstance(value, list):
                if not value:
                    continue
                if isinstance(value[0], ast.stmt):
                    self._body(value, scope)
                    continue
                for item in value:
                    if isinstance(item, ast.AST):
                        self._part(item, scope)
            elif isinstance(value, ast.AST):
                if name == "annotation":
                    self._annotated(value, scope)
                else:
                    self._part(value, scope)
            elif name in ("name", "rest") and isinstance(value, str) and isinstance(node, _NAMING):
                self._bind(value, scope)

    def _part(self, node: ast.AST, scope: Scope) -> None:
        if isinstance(node, ast.expr):
            if self.with_expressions and self.lines.touch(node.lineno, node.end_lineno or node.lineno):
                self._expression(node, scope)
        elif isinstance(node, ast.excepthandler | ast.match_case | ast.pattern | ast.withitem | ast.keyword):
            self._parents.append(node)
            self._children(node, scope)
            self._parents.pop()

    def _bind(self, name: str, scope: Scope) -> None:
        if name in self.names:
            scope.owner(name).bound.add(name)

    def _expression(self, node: ast.expr, scope: Scope) -> None:
        if isinstance(node, ast.Attribute | ast.Name):
            self._chain(node, scope)
        elif isinstance(node, ast.Constant):
            if isinstance(node.value, str):
                self.found.texts.append(Text(node, tuple(self._parents), scope, annotation=self._annotation))
        elif isinstance(node, ast.Lambda):
            self._function(node, scope)
        elif isinstance(node, Comprehension):
            self._comprehension(node, scope)
        else:
            self._compound(node, scope)

    def _compound(self, node: ast.expr, scope: Scope) -> None:
        outer = self._joined
        if isinstance(node, ast.JoinedStr):
            self._joined = outer or node
            self.found.joined.append(node)
        elif isinstance(node, ast.Call):
            self.found.calls.append(Call(node, scope, self._parents[-1]))
        elif isinstance(node, ast.NamedExpr):
            target = scope
            while target.kind == "function" and target in self._comprehension_scopes and target.parent:
                target = target.parent
            self._bind(node.target.id, target)
        self._parents.append(node)
        self._children(node, scope)
        self._parents.pop()
        self._joined = outer

    _comprehension_scopes: frozenset[Scope] | set[Scope] = frozenset()

    def _chain(self, node: ast.Attribute | ast.Name, scope: Scope) -> None:
        nodes: list[ast.expr] = []
        inner: ast.expr = node
        while isinstance(inner, ast.Attribute):
            nodes.append(inner)
            inner = inner.value
        if not isinstance(inner, ast.Name):
            self._parents.append(node)
            self._part(inner, scope)
            self._parents.pop()
            return
        if inner.id not in self.names:
            return
        nodes.append(inner)
        nodes.reverse()
        if not isinstance(inner.ctx, ast.Load):
            scope.owner(inner.id).bound.add(inner.id)
            return
        chain = tuple(n.attr for n in nodes[1:] if isinstance(n, ast.Attribute))
        self.found.uses.append(Use(inner.id, chain, tuple(nodes), scope, self._parents[-1], self._joined))

    def _annotated(self, node: ast.AST, scope: Scope) -> None:
        outer, self._annotation = self._annotation, True
        self._part(node, scope)
        self._annotation = outer

    def _function(self, node: Function, scope: Scope) -> None:
        inner = Scope("function", scope)
        self._parents.append(node)
        if not isinstance(node, ast.Lambda):
            self._bind(node.name, scope)
            for decorator in node.decorator_list:
                self._part(decorator, scope)
            if node.returns is not None:
                self._annotated(node.returns, scope)
        arguments = node.args
        for default in (*arguments.defaults, *arguments.kw_defaults):
            if default is not None:
                self._part(default, scope)
        everyone = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg)
        for argument in everyone:
            if argument is not None:
                self._bind(argument.arg, inner)
                if argument.annotation is not None:
                    self._annotated(argument.annotation, scope)
        for parameter in getattr(node, "type_params", ()):
            self._bind(parameter.name, inner)
        if isinstance(node, ast.Lambda):
            self._part(node.body, inner)
        else:
            self._body(node.body, inner, docstring=True)
        self._parents.pop()

    def _class(self, node: ast.ClassDef, scope: Scope) -> None:
        self._bind(node.name, scope)
        self._parents.append(node)
        for part in (*node.decorator_list, *node.bases, *node.keywords):
            self._part(part, scope)
        self._body(node.body, Scope("class", scope), docstring=True)
        self._parents.pop()

    def _comprehension(self, node: Comprehension, scope: Scope) -> None:
        inner = Scope("function", scope)
        self._comprehension_scopes = {*self._comprehension_scopes, inner}
        self._parents.append(node)
        for number, generator in enumerate(node.generators):
            self._part(generator.iter, scope if not number else inner)
            self._part(generator.target, inner)
            for condition in generator.ifs:
                self._part(condition, inner)
        for element in (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,):
            self._part(element, inner)
        self._parents.pop()


_NAMING = (ast.ExceptHandler, ast.MatchAs, ast.MatchStar, ast.MatchMapping)
