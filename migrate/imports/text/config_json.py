"""References in JSON, also with comments and trailing commas as editors write it."""

from __future__ import annotations

import json
import re

from migrate.edits import Rewrite
from migrate.imports.context import Context
from migrate.imports.text import quoting
from migrate.imports.text.nodes import Atoms, Format, Node, finish, flattened
from migrate.imports.text.plan import Plan
from migrate.imports.text.values import Walker
from migrate.imports.text.view import View, cut

_SPACE = re.compile(r"(?:[ \t\r\n]+|//[^\r\n]*|/\*.*?\*/)*", re.DOTALL)
_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_OTHER = re.compile(r"[^\s,\]}\"\[{:/]+")


def rewrite(text: str, ctx: Context) -> Rewrite:
    """Rewrite a JSON file."""
    plan = Plan(text, ctx)
    if not plan.mentions(text):
        return plan.result()
    root = parse(text)
    if root is None:
        return _unreadable(plan)
    Walker(plan).walk(root)
    return finish(plan, FORMAT, root)


def _unreadable(plan: Plan) -> Rewrite:
    if not plan.ctx.snippet and any(True for _ in plan.ctx.moves.find(plan.text)):
        plan.find(0, "BM108", "the file is not JSON")
    return plan.leftovers()


def parse(text: str) -> Node | None:
    """Return the value of a JSON text with places; None when it isn't JSON."""
    try:
        node, at = _value(text, _skip(text, 0))
    except (ValueError, RecursionError):
        return None
    return node if _skip(text, at) == len(text) else None


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _value(text: str, at: int) -> tuple[Node, int]:
    char = text[at : at + 1]
    if char == '"':
        node = string(text, at)
        return node, node.end
    if char in ("{", "["):
        return _container(text, at, char)
    found = _OTHER.match(text, at)
    if found is None:
        raise ValueError(at)
    return Node("other", at, found.end()), found.end()


def _container(text: str, start: int, opening: str) -> tuple[Node, int]:
    node = Node("map" if opening == "{" else "seq", start, start)
    closing = "}" if opening == "{" else "]"
    at = _skip(text, start + 1)
    while not text.startswith(closing, at):
        value, at = _value(text, at)
        at = _skip(text, at)
        if opening == "{":
            if value.kind != "str" or not text.startswith(":", at):
                raise ValueError(at)
            key = value
            value, at = _value(text, _skip(text, at + 1))
            node.pairs.append((key, value))
            at = _skip(text, at)
        else:
            node.items.append(value)
        if text.startswith(",", at):
            at = _skip(text, at + 1)
        elif not text.startswith(closing, at):
            raise ValueError(at)
    node.end = at + 1
    return node, node.end


def string(text: str, at: int) -> Node:
    """Return the string that starts at a quote.

    Raises:
        ValueError: It doesn't end.
    """
    found = _STRING.match(text, at)
    if found is None:
        raise ValueError(at)
    start, end = at + 1, found.end() - 1

    def decode() -> View | None:
        if "\\" not in found.group():
            return cut(text, start, end, encoded)
        builder = quoting.escaped(text, start, end, quoting.JSON_ESCAPES)
        return builder.view(encoded) if builder else None

    return Node("str", at, found.end(), decode)


def encoded(new: str) -> str:
    """Spell text inside a JSON string."""
    return json.dumps(new, ensure_ascii=False)[1:-1]


def _atoms(text: str) -> Atoms | None:
    try:
        return flattened(json.loads(text, object_pairs_hook=tuple))
    except (ValueError, RecursionError):
        return None


FORMAT = Format(parse, _atoms)
