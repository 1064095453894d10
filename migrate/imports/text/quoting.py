"""Strings of configuration formats decoded with the place of every character."""

from __future__ import annotations

import re
from collections.abc import Mapping

from migrate.imports.text.view import LINE_BREAK, Builder, View

# Text that means itself in any string of any of the formats.
_SAFE = re.compile(r"[\w.,:;()=* ]*")
_LETTERS = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", '"': '"', "\\": "\\", "/": "/"}
JSON_ESCAPES = _LETTERS
TOML_ESCAPES = {**_LETTERS, "e": "\x1b"}
YAML_ESCAPES = {
    **_LETTERS,
    **{"0": "\0", "a": "\a", "v": "\v", "e": "\x1b", " ": " ", "_": "\xa0", "N": "\x85", "L": "\u2028", "P": "\u2029"},
}
_HEX = {"x": 2, "u": 4, "U": 8}
_RUN = re.compile(r"[^\\\r\n]+")


def safe(new: str) -> str | None:
    """Spell new text in a string; None when it would need an escape."""
    return new if _SAFE.fullmatch(new) else None


def escaped(
    text: str, start: int, end: int, escapes: Mapping[str, str], builder: Builder | None = None
) -> Builder | None:
    """Decode the inside of a string with backslash escapes, line breaks kept as they are.

    Returns:
        The characters; None for an escape that isn't known.
    """
    builder = builder or Builder()
    at = start
    while at < end:
        run = _RUN.match(text, at, end)
        if run is not None:
            builder.raw(text, *run.span())
            at = run.end()
        elif text[at] != "\\":
            builder.raw(text, at, at + 1)
            at += 1
        else:
            value, after = escape(text, at, end, escapes)
            if value is None:
                return None
            builder.decoded(value, at, after)
            at = after
    return builder


def escape(text: str, at: int, end: int, escapes: Mapping[str, str]) -> tuple[str | None, int]:
    """Decode one escape sequence at a backslash; return its character and the offset after it."""
    letter = text[at + 1 : at + 2]
    if letter in escapes:
        return escapes[letter], at + 2
    digits = _HEX.get(letter)
    if digits is None:
        return None, at
    code, after = _code(text, at + 2, digits), at + 2 + digits
    if code is not None and 0xD800 <= code < 0xDC00 and text.startswith("\\u", after):
        low = _code(text, after + 2, 4)
        if low is not None and 0xDC00 <= low < 0xE000:
            return chr(0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)), after + 6
    return (chr(code), after) if code is not None and code < 0x110000 and after <= end else (None, at)


def _code(text: str, start: int, digits: int) -> int | None:
    found = re.compile(r"[0-9a-fA-F]+").fullmatch(text, start, start + digits)
    return int(found.group(), 16) if found and len(found.group()) == digits else None


def folded(text: str, start: int, end: int, quote: str) -> View | None:
    """Decode a flow scalar of YAML, ``start`` and ``end`` inside its quotes."""
    builder, at = Builder(), start
    while at < end:
        found = re.compile(r"[ \t]*(?:\r\n|\r|\n)(?:[ \t]*(?:\r\n|\r|\n))*[ \t]*").match(text, at, end)
        if found is not None:
            breaks = len(LINE_BREAK.findall(found.group()))
            builder.decoded(" " if breaks == 1 else "\n" * (breaks - 1), *found.span())
            at = found.end()
        elif quote == "'" and text.startswith("''", at):
            builder.decoded("'", at, at + 2)
            at += 2
        elif quote == '"' and text[at] == "\\":
            line_end = re.compile(r"\\(?:\r\n|\r|\n)[ \t]*").match(text, at, end)
            if line_end is not None:
                at = line_end.end()
                continue
            value, after = escape(text, at, end, YAML_ESCAPES)
            if value is None:
                return None
            builder.decoded(value, at, after)
            at = after
        else:
            builder.raw(text, at, at + 1)
            at += 1
    return builder.view(safe)
