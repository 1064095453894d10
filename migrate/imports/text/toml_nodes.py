"""TOML text to nodes with places. The text must have been accepted by `tomllib`: this reader does not validate."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable

from migrate.imports.text import quoting
from migrate.imports.text.nodes import Atoms, Format, Node, flattened
from migrate.imports.text.view import LINE_BREAK, Builder, View, cut

_SPACE = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_BLANK = re.compile(r"[ \t]*")
_BARE = re.compile(r"[A-Za-z0-9_\-]+")
_DOT = re.compile(r"[ \t]*\.[ \t]*")
_QUOTES = ('"""', "'''", '"', "'")
_OTHER = re.compile(r"[^,\]}#\r\n]+")


def parse(text: str) -> Node | None:
    """Return the document of a TOML text; None when it isn't TOML.

    A table that is written in several places is several pairs of its parent with the same key, and an array of tables
    is repeated pairs too: what is asked of the tree are places, not the merged value.
    """
    if atoms(text) is None:
        return None
    root = Node("map", 0, len(text))
    table, at = root, _skip(text, 0)
    while at < len(text):
        if text[at] == "[":
            start = at + (2 if text.startswith("[[", at) else 1)
            keys, at = _keys(text, _BLANK.match(text, start).end())  # type: ignore[union-attr]
            table = Node("map", at, at)
            _attach(root, keys, table)
            at = text.index("]", at) + (2 if text.startswith("]]", text.index("]", at)) else 1)
        else:
            at = _pair(text, at, table)
        at = _skip(text, at)
    return root


def atoms(text: str) -> Atoms | None:
    """Return the parts of the document as `tomllib` sees it."""
    try:
        return flattened(tomllib.loads(text.replace("\r\n", "\n")))
    except (tomllib.TOMLDecodeError, RecursionError):
        return None


FORMAT = Format(parse, atoms)


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _attach(parent: Node, keys: list[Node], value: Node) -> None:
    for key in keys[:-1]:
        inner = Node("map", key.start, key.end)
        parent.pairs.append((key, inner))
        parent = inner
    parent.pairs.append((keys[-1], value))


def _pair(text: str, at: int, table: Node) -> int:
    keys, at = _keys(text, at)
    value, at = _value(text, _BLANK.match(text, text.index("=", at) + 1).end())  # type: ignore[union-attr]
    _attach(table, keys, value)
    return at


def _keys(text: str, at: int) -> tuple[list[Node], int]:
    keys: list[Node] = []
    while True:
        bare = _BARE.match(text, at)
        if bare is None:
            keys.append(_string(text, at))
        else:
            keys.append(Node("str", at, bare.end(), _plain(text, at, bare.end())))
        at = keys[-1].end
        dot = _DOT.match(text, at)
        if dot is None:
            return keys, at
        at = dot.end()


def _plain(text: str, start: int, end: int) -> Callable[[], View]:
    return lambda: cut(text, start, end, quoting.safe)


def _value(text: str, at: int) -> tuple[Node, int]:
    char = text[at]
    if char in "\"'":
        node = _string(text, at)
    elif char == "[":
        node = Node("seq", at, at)
        at = _skip(text, at + 1)
        while text[at] != "]":
            item, at = _value(text, at)
            node.items.append(item)
            at = _skip(text, at)
            at = _skip(text, at + 1) if text[at] == "," else at
        node.end = at + 1
    elif char == "{":
        node = Node("map", at, at)
        at = _skip(text, at + 1)
        while text[at] != "}":
            at = _skip(text, _pair(text, at, node))
            at = _skip(text, at + 1) if text[at] == "," else at
        node.end = at + 1
    else:
        found = _OTHER.match(text, at)
        node = Node("other", at, found.end() if found else at + 1)
    return node, node.end


def _string(text: str, at: int) -> Node:
    quote = next(mark for mark in _QUOTES if text.startswith(mark, at))
    start = at + len(quote)
    end = start
    while not text.startswith(quote, end):
        end += 2 if text[end] == "\\" and quote[0] == '"' else 1
    while len(quote) == 3 and text.startswith(quote, end + 1):
        end += 1  # quotes before the closing ones
    return Node("str", at, end + len(quote), lambda: _content(text, start, end, quote))


def _content(text: str, start: int, end: int, quote: str) -> View | None:
    first = LINE_BREAK.match(text, start, end) if len(quote) == 3 else None
    start = first.end() if first else start
    if quote[0] == "'" or "\\" not in text[start:end]:
        return cut(text, start, end, (lambda new: new) if len(quote) == 3 else quoting.safe)
    builder, at = Builder(), start
    for joint in re.compile(r"(?<!\\)((?:\\\\)*)\\[ \t]*(?:\r\n|\n)[ \t\r\n]*").finditer(text, start, end):
        if quoting.escaped(text, at, joint.end(1), quoting.TOML_ESCAPES, builder) is None:
            return None
        at = joint.end()
    return builder.view(quoting.safe) if quoting.escaped(text, at, end, quoting.TOML_ESCAPES, builder) else None
