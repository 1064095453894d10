"""Count the files that still import an old module, to see how much of the work a tool has done."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path

from _measure import python_files
from _scenarios import Move


def count(tree: Path, moves: Sequence[Move], roots: Sequence[str]) -> int:
    """Return how many files of ``tree`` import an old module, absolutely or relatively under one of ``roots``."""
    old = frozenset(move.old for move in moves)
    words = [name.rpartition(".")[2].encode() for name in old]
    data = ((path.relative_to(tree), path.read_bytes()) for path in python_files(tree))
    return sum(_imports_any(path, code, old, roots) for path, code in data if any(word in code for word in words))


def _imports_any(path: Path, code: bytes, old: frozenset[str], roots: Sequence[str]) -> bool:
    try:
        module = ast.parse(code)
    except SyntaxError:
        return False
    packages = [list(path.relative_to(root).parent.parts) for root in roots if path.is_relative_to(root)]
    nodes = (node for node in ast.walk(module) if isinstance(node, ast.Import | ast.ImportFrom))
    return any(_is_old(name, old) for node in nodes for name in _names(node, packages))


def _names(node: ast.Import | ast.ImportFrom, packages: list[list[str]]) -> Iterator[str]:
    """Yield what an import may name: modules, and members that may be modules."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    for package in packages if node.level else [[]]:
        above = package[: len(package) - node.level + 1] if node.level else []
        base = ".".join([*above, *([node.module] if node.module else [])])
        yield base
        yield from (f"{base}.{alias.name}" for alias in node.names)


def _is_old(name: str, old: frozenset[str]) -> bool:
    return name in old or any(name.startswith(f"{prefix}.") for prefix in old)
