"""Positions: from the parser's lines and UTF-8 columns to character offsets of the text."""

from __future__ import annotations

import ast
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from functools import cached_property
from itertools import accumulate

LINE_END = re.compile(r"\r\n?|\n")
INDENT = re.compile(r"[ \t\f]*")


class Source:
    """A decoded text with the line numbering of Python's tokenizer: CR LF, LF and a lone CR end a line."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._ascii = text.isascii()

    @cached_property
    def starts(self) -> list[int]:
        """Offset of the first character of each line."""
        if "\r" in self.text:
            return [0, *(found.end() for found in LINE_END.finditer(self.text))]
        ends = list(accumulate(map((1).__add__, map(len, self.text.split("\n")))))
        return [0, *ends[:-1]]

    def offset(self, line: int, column: int) -> int:
        """Return the character offset of a line (from 1) and a UTF-8 column (from 0)."""
        start = self.starts[line - 1]
        if self._ascii or not column:
            return start + column
        end = self.starts[line] if line < len(self.starts) else len(self.text)
        return start + len(self.text[start:end].encode()[:column].decode())

    def span(self, node: ast.AST) -> tuple[int, int]:
        """Return start and end offset of a node that has positions."""
        start = self.offset(node.lineno, node.col_offset)  # type: ignore[attr-defined]
        return start, self.offset(node.end_lineno, node.end_col_offset)  # type: ignore[attr-defined]

    def line(self, offset: int) -> int:
        """Return the line number, from 1, that holds an offset."""
        return bisect_right(self.starts, offset)

    def line_end(self, offset: int) -> int:
        """Return the offset where the line holding ``offset`` ends, before its newline."""
        found = LINE_END.search(self.text, offset)
        return found.start() if found else len(self.text)

    @cached_property
    def newline(self) -> str:
        """The newline that the first line ends with."""
        found = LINE_END.search(self.text)
        return found.group() if found else "\n"

    def indent_before(self, start: int) -> str | None:
        """Return the whitespace before ``start`` when nothing else precedes it on its line, else None."""
        begin = self.starts[self.line(start) - 1]
        head = self.text[begin:start]
        found = INDENT.fullmatch(head)
        return head if found else None


class Lines:
    """A sorted set of line numbers that answers whether a node touches one of them."""

    def __init__(self, numbers: Iterable[int]) -> None:
        self._numbers = sorted(set(numbers))

    def __bool__(self) -> bool:
        """Whether any line is in the set."""
        return bool(self._numbers)

    def touch(self, first: int, last: int) -> bool:
        """Whether a line of the set lies between ``first`` and ``last``, both included."""
        at = bisect_left(self._numbers, first)
        return at < len(self._numbers) and self._numbers[at] <= last


def matching_lines(source: Source, pattern: re.Pattern[str]) -> set[int]:
    """Return the numbers of the lines on which a match of ``pattern`` starts."""
    return {source.line(found.start()) for found in pattern.finditer(source.text)}


def word_lines(source: Source, words: Iterable[str]) -> set[int]:
    """Return the numbers of the lines that hold one of the words.

    One search a word, each with a literal prefix: faster than a single pattern that starts with a word boundary.
    """
    text = source.text
    lines: set[int] = set()
    for word in words:
        for found in re.finditer(rf"{re.escape(word)}\b", text):
            start = found.start()
            if not start or not (text[start - 1].isalnum() or text[start - 1] == "_"):
                lines.add(source.line(start))
    return lines
