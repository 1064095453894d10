"""Names that a module binds, read from its source: nothing is executed."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")
_DYNAMIC = re.compile(rb"\b(?:globals|exec|vars|locals)\(|\bsys\.modules\[__name__")
_GLOBAL = re.compile(rb"(?:^|[:;])[ \t]*global[ \t\\]", re.MULTILINE)
# Calls that put the members of an enumeration into the module, and a decorator that appends to ``__all__``.
_ENUM_TO_MODULE = (b"global_enum", b"_convert_(", b"_simple_enum(")
_APPENDS_TO_ALL = (b"@public", b"@export")
_READS = {"get", "keys", "values", "items", "copy"}


@dataclass(frozen=True, slots=True)
class Bindings:
    """What the source of one module says by itself, before star imports are followed.

    Attributes:
        names: Names bound at module level.
        stars: The modules of its star imports, as ``(level, dotted name)``.
        complete: False when code may bind further names, or the source does not parse.
        has_all: ``__all__`` is bound, or may be by a decorator.
        all_names: The names in ``__all__``; None when it is not a literal.
        loads: Modules it imports, as ``(level, dotted name)``: a package's own submodules become its attributes so.
    """

    names: frozenset[str]
    stars: tuple[tuple[int, str], ...]
    complete: bool
    has_all: bool
    all_names: tuple[str, ...] | None
    loads: frozenset[tuple[int, str]]


UNREADABLE = Bindings(frozenset(), (), False, False, None, frozenset())


def parse(source: bytes) -> ast.Module | None:
    """Return the syntax tree, or None for what this Python cannot parse (Python 2, unknown encodings, null bytes)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def bindings(tree: ast.Module, source: bytes) -> Bindings:
    """Return what ``tree`` binds at module level; ``source`` is its text, searched before costly walks are made."""
    collector = _Collector()
    collector.collect(tree)
    names = collector.names
    if _GLOBAL.search(source):
        names.update(name for node in ast.walk(tree) if isinstance(node, ast.Global) for name in node.names)
    if b":=" in source:
        names.update(n.target.id for n in _module_scope(tree) if isinstance(n, ast.NamedExpr))
    dynamic = any(token in source for token in _ENUM_TO_MODULE) or (
        _DYNAMIC.search(source) is not None and _writes_namespace(tree)
    )
    decorated = any(token in source for token in _APPENDS_TO_ALL)
    has_all = "__all__" in names or decorated
    return Bindings(
        names=frozenset(names),
        stars=tuple(collector.stars),
        complete=not dynamic and "__getattr__" not in names,
        has_all=has_all,
        all_names=tuple(collector.all_names) if has_all and collector.all_known and not decorated else None,
        loads=frozenset(collector.loads),
    )


class _Collector:
    """Walks the statements at module level, in order, through blocks but not into functions and classes."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.stars: list[tuple[int, str]] = []
        self.loads: set[tuple[int, str]] = set()
        self.all_names: list[str] = []
        self.all_known = False

    def collect(self, tree: ast.Module) -> None:
        # A stack, since a chain of a thousand elifs is nested that deep.
        stack: list[tuple[ast.AST, bool]] = [(node, False) for node in reversed(tree.body)]
        while stack:
            node, nested = stack.pop()
            self._bind(node, nested)
            self._follow_all(node, nested)
            if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
                continue
            for block in reversed(_BLOCKS):
                stack += [(child, True) for child in reversed(getattr(node, block, ()))]

    def _bind(self, node: ast.AST, nested: bool) -> None:
        if isinstance(node, ast.Import):
            self.names.update(alias.asname or alias.name.partition(".")[0] for alias in node.names)
            self.loads.update((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            self._bind_from(node)
        elif isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            self.names.add(node.name)
        elif isinstance(node, ast.Delete):
            if not nested:
                self.names.difference_update(name for target in node.targets for name in _targets(target))
        else:
            self.names.update(_bound(node))

    def _bind_from(self, node: ast.ImportFrom) -> None:
        if node.module:
            self.loads.add((node.level, node.module))
        for alias in node.names:
            if alias.name == "*":
                self.stars.append((node.level, node.module or ""))
            else:
                self.names.add(alias.asname or alias.name)

    def _follow_all(self, node: ast.AST, nested: bool) -> None:
        """Keep the value of ``__all__`` as far as literals say it; anything else makes it unknown."""
        change = _all_change(node)
        if change is None:
            return
        replaces, value = change
        if value is None or nested or not (replaces or self.all_known):
            self.all_known = False
            return
        self.all_names = value if replaces else self.all_names + value
        self.all_known = True


def _bound(node: ast.AST) -> Iterator[str]:
    """Yield the names that a statement binds, apart from imports and definitions."""
    if isinstance(node, ast.Assign):
        for target in node.targets:
            yield from _targets(target)
    elif isinstance(node, (ast.AugAssign, ast.For, ast.AsyncFor)) or (isinstance(node, ast.AnnAssign) and node.value):
        yield from _targets(node.target)
    elif isinstance(node, (ast.With, ast.AsyncWith)):
        for item in node.items:
            if item.optional_vars is not None:
                yield from _targets(item.optional_vars)
    elif isinstance(node, ast.match_case):
        for part in ast.walk(node.pattern):
            captured = part.rest if isinstance(part, ast.MatchMapping) else getattr(part, "name", None)
            if captured:
                yield captured
    elif type(node).__name__ == "TypeAlias":  # from Python 3.12
        yield from _targets(node.name)  # type: ignore[attr-defined]


def _targets(target: ast.expr) -> Iterator[str]:
    if isinstance(target, ast.Name):
        yield target.id
    elif isinstance(target, (ast.Tuple, ast.List)):
        for element in target.elts:
            yield from _targets(element)
    elif isinstance(target, ast.Starred):
        yield from _targets(target.value)


def _all_change(node: ast.AST) -> tuple[bool, list[str] | None] | None:
    """Return what a statement does to ``__all__``: whether it replaces it, and the names (None: not literal)."""
    if isinstance(node, (ast.Assign, ast.AnnAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if any(_is_all(target) for target in targets):
            return True, _literal(node.value)
        return (True, None) if any("__all__" in _targets(target) for target in targets) else None
    if isinstance(node, ast.AugAssign) and _is_all(node.target):
        return False, _literal(node.value) if isinstance(node.op, ast.Add) else None
    if isinstance(node, ast.ImportFrom):
        return (True, None) if any((a.asname or a.name) == "__all__" for a in node.names) else None
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Attribute):
        return _all_call(node.value, node.value.func)
    return None


def _all_call(call: ast.Call, func: ast.Attribute) -> tuple[bool, list[str] | None] | None:
    if not _is_all(func.value):
        return None
    if func.attr == "extend" and len(call.args) == 1:
        return False, _literal(call.args[0])
    if func.attr == "append" and len(call.args) == 1:
        return False, _literal(ast.List(elts=[call.args[0]]))
    return (False, []) if func.attr in {"sort", "reverse"} else (False, None)


def _is_all(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "__all__"


def _literal(node: ast.expr | None) -> list[str] | None:
    """Return the strings of a literal list or tuple, or of a sum of them; None for anything else."""
    if isinstance(node, (ast.List, ast.Tuple)):
        values = [e.value for e in node.elts if isinstance(e, ast.Constant) and isinstance(e.value, str)]
        return values if len(values) == len(node.elts) else None
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _literal(node.left), _literal(node.right)
        return None if left is None or right is None else left + right
    return None


def _module_scope(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield the nodes whose names belong to the module: not those in functions, lambdas and classes."""
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        yield node
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, (*_FUNCTIONS, ast.ClassDef, ast.Lambda)):
                stack.append(child)


def _writes_namespace(tree: ast.Module) -> bool:
    """Tell whether code may bind module names by ``exec``, ``globals()``, ``vars()`` or ``sys.modules[__name__]``."""
    reads = {id(call) for node in ast.walk(tree) for call in _read_only(node)}
    if any(_is_call(node, {"vars", "locals"}, 0) and id(node) not in reads for node in _module_scope(tree)):
        return True
    if any(_is_call(node, {"exec"}, 1) for node in _module_scope(tree)):
        return True
    return any(
        (_is_call(node, {"globals"}, 0) and id(node) not in reads) or _is_own_module(node) for node in ast.walk(tree)
    )


def _is_call(node: ast.AST, names: set[str], num_args: int) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in names
        and len(node.args) + len(node.keywords) == num_args
    )


def _read_only(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the ``globals()`` in ``globals()["x"]``, ``globals().get("x")`` and ``"x" in globals()``."""
    if (isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load)) or (
        isinstance(node, ast.Attribute) and node.attr in _READS
    ):
        yield node.value
    elif isinstance(node, ast.Compare):
        yield from node.comparators


def _is_own_module(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Subscript)
        and isinstance(node.value, ast.Attribute)
        and node.value.attr == "modules"
        and isinstance(node.slice, ast.Name)
        and node.slice.id == "__name__"
    )
