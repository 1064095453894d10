"""Annotations written as strings: their names are uses like any other."""

from __future__ import annotations

import ast
from collections.abc import Collection

from migrate.imports.python.scopes import Found, Text, Walker
from migrate.imports.python.source import Lines, Source
from migrate.imports.python.strings import body_span

_TYPE_ARGUMENTS = {"cast": 0, "TypeVar": -1, "NewType": 1, "ForwardRef": 0}


def add_annotation_uses(source: Source, found: Found, names: Collection[str]) -> None:
    """Parse the strings in annotation positions and add the uses in them to ``found``."""
    for text in found.texts:
        text.annotation = _is_annotation(text)
        span = body_span(source, text.node) if text.annotation else None
        if span is None or not names:
            continue
        body = source.text[slice(*span)]
        try:
            expression = ast.parse(body.strip(), mode="eval")
        except SyntaxError:
            text.annotation = False
            continue
        walker = Walker(Lines([1]), names)
        walker.walk(ast.Module([ast.Expr(expression.body, lineno=1, end_lineno=1, col_offset=0)], []))
        lead = len(body) - len(body.lstrip())
        for use in walker.found.uses:
            use.scope, use.base, use.body = text.scope, span[0] + lead, body.strip()
            use.parent = text.parents[-1]
            found.uses.append(use)


def _is_annotation(text: Text) -> bool:
    """Whether a string is a type: in an annotation but not under ``Literal``, or an argument that takes a type."""
    parent = text.parents[-1]
    inside = [p for p in text.parents if isinstance(p, ast.Subscript)]
    if text.annotation:
        last = [ast.unparse(p.value).rpartition(".")[2] for p in inside]
        return "Literal" not in last and "Annotated" not in last
    if isinstance(parent, ast.keyword) and parent.arg == "bound":
        return True
    if isinstance(parent, ast.Call) and isinstance(parent.func, ast.Name | ast.Attribute):
        position = _TYPE_ARGUMENTS.get(ast.unparse(parent.func).rpartition(".")[2])
        return position is not None and position >= 0 and parent.args[position : position + 1] == [text.node]
    return False
