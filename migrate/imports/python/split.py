"""Splitting one ``from`` statement over several modules with LibCST, which keeps its comments and layout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import libcst as cst

from migrate.imports.python.statements import Placed


@dataclass(slots=True)
class _Item:
    """One name of a parenthesised list: comments above it, and the comment behind its comma."""

    above: Sequence[cst.EmptyLine]
    behind: cst.TrailingWhitespace | None


def split_from(code: str, placed: Sequence[Placed]) -> list[str]:
    """Return the statements that replace a ``from`` statement, in the order in which their modules first occur.

    Args:
        code: The statement, from ``from`` to its last name or parenthesis.
        placed: Where each of its names is now, in order.
    """
    module = cst.parse_module("")
    statement = cst.parse_statement(code)
    assert isinstance(statement, cst.SimpleStatementLine)
    node = cst.ensure_type(statement.body[0], cst.ImportFrom)
    assert not isinstance(node.names, cst.ImportStar)
    layout = _Layout(node)
    statements: list[str] = []
    for name in dict.fromkeys(place.module for place in placed):
        members = [(number, place) for number, place in enumerate(placed) if place.module == name]
        if name:
            statements.append(module.code_for_node(layout.part(name, members)))
            continue
        statements += (f"import {place.clause()}" for _, place in members)
    statements += (f"{place.bound} = {place.imported}.{place.attribute}" for place in placed if place.attribute)
    return statements


class _Layout:
    """The layout of a statement's list of names, to give each part of it the same one."""

    def __init__(self, node: cst.ImportFrom) -> None:
        self.node = node
        assert not isinstance(node.names, cst.ImportStar)
        self.names = list(node.names)
        opening = node.lpar.whitespace_after if node.lpar else None
        self.opening = opening if isinstance(opening, cst.ParenthesizedWhitespace) else None
        self.items = list(self._items())
        self.trailing_comma = isinstance(self.names[-1].comma, cst.Comma)
        self.closing = self._closing()

    def _behind(self, number: int) -> cst.BaseParenthesizableWhitespace | None:
        """The whitespace behind the comma of a name, or before the closing parenthesis."""
        comma = self.names[number].comma
        if isinstance(comma, cst.Comma):
            return comma.whitespace_after
        return self.node.rpar.whitespace_before if self.node.rpar else None

    def _items(self) -> Iterator[_Item]:
        above: Sequence[cst.EmptyLine] = self.opening.empty_lines if self.opening else ()
        for number in range(len(self.names)):
            behind = self._behind(number)
            if isinstance(behind, cst.ParenthesizedWhitespace):
                yield _Item(above, behind.first_line)
                above = behind.empty_lines
            else:
                yield _Item(above, None)
                above = ()

    def _closing(self) -> cst.ParenthesizedWhitespace | None:
        """The line break before the closing parenthesis, if there is one."""
        behind = self._behind(len(self.names) - 1)
        return behind if isinstance(behind, cst.ParenthesizedWhitespace) else None

    def part(self, module: str, members: Sequence[tuple[int, Placed]]) -> cst.ImportFrom:
        """Build the statement that imports some of the names from one module."""
        dots = len(module) - len(module.lstrip("."))
        dotted = module[dots:]
        target = cst.parse_expression(dotted) if dotted else None
        following = [number for number, _ in members[1:]]
        names = [
            self._alias(place, number, after)
            for (number, place), after in zip(members, [*following, None], strict=True)
        ]
        changes: dict[str, object] = {
            "module": target,
            "relative": [cst.Dot() for _ in range(dots)],
            "names": names,
            "whitespace_after_from": cst.SimpleWhitespace(" "),
            "whitespace_before_import": cst.SimpleWhitespace(" "),
        }
        if self.opening is not None:
            first = self.opening.first_line if members[0][0] == 0 else cst.TrailingWhitespace()
            opening = self.opening.with_changes(first_line=first, empty_lines=self.items[members[0][0]].above)
            changes["lpar"] = cst.LeftParen(whitespace_after=opening)
        if self.node.rpar is not None:
            end = cst.SimpleWhitespace("") if self.trailing_comma else self._last(members[-1][0])
            changes["rpar"] = cst.RightParen(whitespace_before=end)
        return self.node.with_changes(**changes)

    def _alias(self, place: Placed, number: int, following: int | None) -> cst.ImportAlias:
        bound = None
        if place.imported != place.name:
            fresh = cst.AsName(cst.Name(place.imported), cst.SimpleWhitespace(" "), cst.SimpleWhitespace(" "))
            bound = (not place.attribute and self.names[number].asname) or fresh
        comma: cst.Comma | cst.MaybeSentinel = cst.MaybeSentinel.DEFAULT
        if following is not None:
            comma = cst.Comma(whitespace_after=self._between(number, following))
        elif self.trailing_comma:
            comma = cst.Comma(whitespace_after=self._last(number))
        return cst.ImportAlias(cst.Name(place.name), bound, comma)

    def _between(self, number: int, following: int) -> cst.BaseParenthesizableWhitespace:
        """The whitespace between two names that may not have been neighbours before."""
        above = self.items[following].above
        own = self._behind(number) if number < len(self.names) - 1 else self.opening
        if isinstance(own, cst.ParenthesizedWhitespace):
            behind = self.items[number].behind or cst.TrailingWhitespace()
            return own.with_changes(first_line=behind, empty_lines=above)
        if above and self.opening is not None:
            return self.opening.with_changes(first_line=cst.TrailingWhitespace(), empty_lines=above)
        return cst.SimpleWhitespace(" ")

    def _last(self, number: int) -> cst.BaseParenthesizableWhitespace:
        """The whitespace between the last name and the closing parenthesis."""
        behind = self.items[number].behind
        if self.closing is None:
            if behind is None or behind.comment is None:
                return cst.SimpleWhitespace("")
            return cst.ParenthesizedWhitespace(behind, indent=True)
        below = self.closing.empty_lines if number == len(self.names) - 1 else ()
        return self.closing.with_changes(first_line=behind or cst.TrailingWhitespace(), empty_lines=below)
