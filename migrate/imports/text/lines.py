"""Lines of a document, and blocks of them without their indentation or quotation marks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from migrate.imports.text.view import LINE_BREAK, Builder, View, with_prefix


@dataclass(frozen=True, slots=True)
class Line:
    """One line.

    Attributes:
        start: Offset of its first character.
        end: Offset of its line break.
        after: Offset of the next line.
        text: The line without its break.
    """

    start: int
    end: int
    after: int
    text: str

    @property
    def blank(self) -> bool:
        """Whether there is only white space."""
        return not self.text.strip()

    @property
    def indent(self) -> int:
        """Number of leading white-space characters."""
        return len(self.text) - len(self.text.lstrip())


def split(text: str) -> list[Line]:
    """Return the lines of a text."""
    found: list[Line] = []
    at = 0
    for line_break in LINE_BREAK.finditer(text):
        found.append(Line(at, line_break.start(), line_break.end(), text[at : line_break.start()]))
        at = line_break.end()
    if at < len(text):
        found.append(Line(at, len(text), len(text), text[at:]))
    return found


def block(text: str, lines: Iterable[tuple[Line, int]]) -> View:
    """Return lines as one text, each from its own column on, without the indentation that they share.

    Args:
        text: The document.
        lines: Lines and the columns where their content starts.
    """
    pieces = [(line, min(column, len(line.text))) for line, column in lines]
    filled = [line.text[column:] for line, column in pieces if line.text[column:].strip()]
    shared = min((len(body) - len(body.lstrip(" \t")) for body in filled), default=0)
    builder = Builder()
    prefix = ""
    for line, column in pieces:
        body = line.text[column:]
        start = line.start + column + min(shared, len(body) - len(body.lstrip(" \t")))
        prefix = prefix or line.text[: start - line.start]
        builder.raw(text, start, line.after)
    return builder.view(with_prefix(_blank(prefix)))


def _blank(prefix: str) -> str:
    """Keep quotation marks and white space of a prefix, and blank a list marker."""
    return "".join(char if char in "> \t" else " " for char in prefix)
