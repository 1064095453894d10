"""The import statements of a file, and whether a failure of each is caught."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_CATCHES = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True, slots=True)
class Imported:
    """One module that a statement imports, or imports names from.

    Attributes:
        line: Line of the statement, from 1.
        level: Number of leading dots; 0 for an absolute import.
        module: Dotted name after the dots; empty for ``from . import x``.
        names: Names after ``from ... import``; empty for ``import module``.
        guarded: A failure is caught by ``except ImportError`` (or a wider one), or the import is the fallback there.
    """

    line: int
    level: int
    module: str
    names: tuple[str, ...]
    guarded: bool

    @property
    def spelling(self) -> str:
        """The statement on one line, without aliases."""
        if not self.names:
            return f"import {self.module}"
        return f"from {'.' * self.level}{self.module} import {', '.join(self.names)}"


def imports(tree: ast.Module) -> Iterator[Imported]:
    """Yield the imports of a module, in order, those inside functions and classes too."""
    stack: list[tuple[ast.AST, bool]] = [(node, False) for node in reversed(tree.body)]
    while stack:
        node, guarded = stack.pop()
        if isinstance(node, ast.Import):
            yield from (Imported(node.lineno, 0, alias.name, (), guarded) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = tuple(alias.name for alias in node.names)
            yield Imported(node.lineno, node.level, node.module or "", names, guarded)
        else:
            stack += reversed([(child, state) for block, state in _blocks(node, guarded) for child in block])


def _blocks(node: ast.AST, guarded: bool) -> Iterator[tuple[Iterable[ast.AST], bool]]:
    """Yield the blocks of a statement, each with whether a failing import in it is caught."""
    if isinstance(node, ast.Try) or type(node).__name__ == "TryStar":
        handlers: list[ast.ExceptHandler] = node.handlers  # type: ignore[attr-defined]
        yield node.body, guarded or any(_catches(handler.type) for handler in handlers)  # type: ignore[attr-defined]
        for handler in handlers:
            yield handler.body, guarded or _catches(handler.type)
        yield node.orelse, guarded  # type: ignore[attr-defined]
        yield node.finalbody, guarded  # type: ignore[attr-defined]
    elif isinstance(node, (ast.With, ast.AsyncWith)):
        yield node.body, guarded or any(_suppresses(item.context_expr) for item in node.items)
    else:
        # A function runs later, when the ``try`` around its definition is over.
        state = guarded and not isinstance(node, _FUNCTIONS)
        for block in ("body", "orelse", "cases"):
            children = getattr(node, block, ())
            if isinstance(children, list):
                yield children, state


def _catches(error: ast.expr | None) -> bool:
    if isinstance(error, ast.Tuple):
        return any(map(_catches, error.elts))
    return error is None or (isinstance(error, ast.Name) and error.id in _CATCHES)


def _suppresses(manager: ast.expr) -> bool:
    """Tell ``suppress(ImportError)`` and its like."""
    return isinstance(manager, ast.Call) and any(map(_catches, manager.args))
