"""Edits of import statements: in place by span where one module stays one module, through LibCST where it splits."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass

from migrate.edits import Edit
from migrate.imports.python.source import Source

_NAME = r"[^\W\d]\w*"
_GAP = r"[\s\\]*"
_FROM = re.compile(
    rf"from(?P<a>{_GAP})(?P<module>(?:\.{_GAP})*(?:{_NAME}(?:{_GAP}\.{_GAP}{_NAME})*)?){_GAP}(?=\bimport\b)"
)
_COMMENT = re.compile(r"#[^\r\n]*[^\s]")
_PRAGMA = re.compile(r"#\s*(?:noqa|type:\s*ignore|pylint:|pyright:|isort:|pragma:)[^\r\n]*")


@dataclass(frozen=True, slots=True)
class Placed:
    """One imported name after the moves.

    Attributes:
        module: Module to import from, as the statement will spell it; empty for ``import name``.
        name: What is imported; dotted for a whole module with an empty ``module``.
        bound: The name it was and stays bound to.
        attribute: Attributes to take from the imported object to reach what was meant (``g`` of ``C.g``).
        helper: With ``attribute``: the name the imported object is bound to on the way.
    """

    module: str
    name: str
    bound: str
    attribute: str = ""
    helper: str = ""

    @property
    def imported(self) -> str:
        """The name that the import clause binds."""
        return self.helper if self.attribute else self.bound

    def clause(self) -> str:
        """Spell the name and its alias."""
        return self.name if self.name == self.imported else f"{self.name} as {self.imported}"

    def statements(self) -> list[str]:
        """Spell the statements that import this name alone."""
        head = f"from {self.module} import" if self.module else "import"
        take = [f"{self.bound} = {self.imported}.{self.attribute}"] if self.attribute else []
        return [f"{head} {self.clause()}", *take]


@dataclass(slots=True)
class StatementEdit:
    """The edits of one import statement and the number of statements that take its place."""

    edits: list[Edit]
    statements: int


def edit_from(source: Source, node: ast.ImportFrom, module: str, placed: Sequence[Placed]) -> StatementEdit:
    """Rewrite a ``from`` statement so that each name comes from where it is now, bound as before.

    Args:
        source: The text.
        node: The statement.
        module: The module as the statement spells it now, with its dots.
        placed: One entry for each alias of the statement, in order.
    """
    modules = {place.module for place in placed}
    if len(modules) == 1 and "" not in modules and not any(place.attribute for place in placed):
        return StatementEdit(list(_in_place(source, node, module, placed)), 1)
    from migrate.imports.python.split import split_from

    start, end = source.span(node)
    code = source.text[start:end]
    statements = split_from(code, placed)
    joined = join(source, start, end, statements)
    lost = [comment for comment in _COMMENT.findall(code) if comment not in joined]
    indent = source.indent_before(start)
    if lost and indent is not None:
        joined = f"{source.newline}{indent}".join([*lost, joined])
    return StatementEdit([Edit(start, end, joined, "from import")], len(statements))


def _in_place(source: Source, node: ast.ImportFrom, module: str, placed: Sequence[Placed]) -> list[Edit]:
    edits: list[Edit] = []
    start, _ = source.span(node)
    if placed[0].module != module:
        found = _FROM.match(source.text, start)
        if found is None:
            raise ValueError(f"line {node.lineno}: no module between 'from' and 'import'")
        text = found["module"].rstrip(" \t\\\r\n\f")
        begin = found.start("module")
        before = "" if found["a"] else " "
        after = "" if found.end("module") + len(text) - len(found["module"]) < found.end() else " "
        edits.append(Edit(begin, begin + len(text), f"{before}{placed[0].module}{after}", "from import"))
    for alias, place in zip(node.names, placed, strict=True):
        if alias.name != place.name:
            edits.append(Edit(*source.span(alias), place.clause(), "from import"))
    return edits


def edit_import(source: Source, node: ast.Import, clauses: Sequence[str | None]) -> StatementEdit:
    """Rewrite the names of an ``import`` statement; None keeps a name as it is."""
    edits = []
    for alias, clause in zip(node.names, clauses, strict=True):
        if clause is not None:
            edits.append(Edit(*source.span(alias), clause, "import"))
    return StatementEdit(edits, 1)


def insert_after(source: Source, node: ast.stmt, statements: Sequence[str]) -> Edit:
    """Put new import statements behind a statement, in its block."""
    start, end = source.span(node)
    line_end = source.line_end(end)
    indent = source.indent_before(start)
    rest = source.text[end:line_end].strip()
    if indent is None or (rest and not rest.startswith("#")):
        return Edit(end, end, "".join(f"; {statement}" for statement in statements), "import")
    return Edit(line_end, line_end, "".join(f"{source.newline}{indent}{s}" for s in statements), "import")


def join(source: Source, start: int, end: int, statements: Sequence[str]) -> str:
    """Join statements that replace one: on lines of their own where it had its line to itself, else with ``;``.

    A pragma comment that ends the line (``# noqa``) is repeated on each new line but the last, which keeps it anyway.
    """
    indent = source.indent_before(start)
    rest = source.text[end : source.line_end(end)].strip()
    if indent is None or (rest and not rest.startswith("#")):
        return "; ".join(statements)
    pragma = f"  {rest}" if _PRAGMA.match(rest) else ""
    return f"{pragma}{source.newline}{indent}".join(statements)
