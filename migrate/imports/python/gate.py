"""The safety check: outside the rewritten names, the new module's syntax tree equals the old one's.

The edits are spliced by span, so every statement without an edit has the very same characters. What is left to check is
that those with edits still parse, as the same statements at the same places, and differ in nothing else.
"""

from __future__ import annotations

import ast
import warnings
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence

from migrate.edits import Edit, apply
from migrate.imports.python.plan import Plan
from migrate.imports.python.source import Lines, Source


class Unequal(Exception):
    """The two trees differ where they must not."""


class Gate:
    """Compares a module before and after, top-level statement by top-level statement.

    Between two top-level statements the parser is in the same state whatever stood before. So a statement without an
    edit is what it was, and one with edits can be parsed by itself: its lines, before and after.
    """

    def __init__(self, source: Source, plan: Plan) -> None:
        self.source = source
        self.plan = plan
        self.edits = sorted(plan.edits)
        self.lines = Lines(n for e in self.edits for n in range(source.line(e.start), source.line(e.end) + 1))
        self.ordered = [edit.start for edit in self.edits]
        self.starts = set(self.ordered)

    def check(self, old: ast.Module) -> None:
        """Raise where the result does not parse or means something else.

        Raises:
            Unequal: With the line of the old text and the reason.
        """
        checked = 0
        for statements in _by_lines(old.body):
            first, last = _first_line(statements[0]), max(s.end_lineno or s.lineno for s in statements)
            if not self.lines.touch(first, last):
                continue
            start = self.source.starts[first - 1]
            end = self.source.line_end(self.source.starts[last - 1])
            begin = bisect_left(self.edits, start, key=lambda edit: edit.start)
            stop = bisect_right(self.edits, end, key=lambda edit: edit.start)
            inside = [edit for edit in self.edits[begin:stop] if edit.end <= end]
            checked += len(inside)
            moved = [Edit(e.start - start, e.end - start, e.new, e.kind) for e in inside]
            self._bodies(statements, self._parse(apply(self.source.text[start:end], moved), first))
        if checked != len(self.edits):
            raise Unequal("an edit lies outside of every statement")

    def _parse(self, text: str, line: int) -> list[ast.stmt]:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return ast.parse(f"{text}\n").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise Unequal(f"line {line}: the result does not parse: {error}") from None

    def _bodies(self, old: list[ast.stmt], new: list[ast.stmt]) -> None:
        at = 0
        for statement in old:
            count = self.plan.statements.get(id(statement))
            if count is not None:
                self._replaced(statement, new[at : at + count], count)
            else:
                count = 1
                if at >= len(new):
                    raise Unequal(f"line {statement.lineno}: a statement is missing")
                self._statement(statement, new[at])
            at += count
            extra = self.plan.inserted.get(id(statement), 0)
            if not all(isinstance(s, ast.Import) for s in new[at : at + extra]):
                raise Unequal(f"line {statement.lineno}: expected imports behind it")
            at += extra
        if at != len(new):
            raise Unequal(f"line {new[at].lineno} of the result: a statement too many")

    def _replaced(self, old: ast.stmt, new: list[ast.stmt], count: int) -> None:
        """Check that what replaces an import statement binds at least what it bound."""
        if len(new) != count or not all(isinstance(s, ast.Import | ast.ImportFrom | ast.Assign) for s in new):
            raise Unequal(f"line {old.lineno}: an import became something else")
        # `import a.b` binds `a`, which may have another name now; whoever uses it was respelled.
        kept = {a.asname for a in old.names if a.asname} if isinstance(old, ast.Import) else _bound([old])
        missing = kept - _bound(new)
        if missing:
            raise Unequal(f"line {old.lineno}: {', '.join(sorted(missing))} is no longer bound")

    def _statement(self, old: ast.stmt, new: ast.stmt) -> None:
        if type(old) is not type(new):
            raise Unequal(f"line {old.lineno}: {type(old).__name__} became {type(new).__name__}")
        last, new_last = old.end_lineno or old.lineno, new.end_lineno or new.lineno
        if not self.lines.touch(_first_line(old), last):
            same = (last - old.lineno, old.col_offset, old.end_col_offset)
            if same != (new_last - new.lineno, new.col_offset, new.end_col_offset):
                raise Unequal(f"line {old.lineno}: the statement ends elsewhere")
            return
        self._fields(old, new)

    def _fields(self, old: ast.AST, new: ast.AST) -> None:
        """Compare every field; an explicit stack, since expressions can be nested deeply."""
        stack: list[tuple[object, object]] = [(old, new)]
        while stack:
            a, b = stack.pop()
            if type(a) is not type(b) and not (isinstance(a, ast.expr) and isinstance(b, ast.expr)):
                raise Unequal(f"line {getattr(old, 'lineno', 0)}: the code around a name changed")
            if isinstance(a, list) and isinstance(b, list):
                if a and isinstance(a[0], ast.stmt):
                    self._bodies(a, b)
                elif len(a) != len(b):
                    raise Unequal(f"line {getattr(old, 'lineno', 0)}: a list got longer or shorter")
                else:
                    stack += zip(a, b, strict=True)
            elif isinstance(a, ast.AST) and isinstance(b, ast.AST):
                if not self._renamed(a, b):
                    stack += ((getattr(a, name, None), getattr(b, name, None)) for name in a._fields)
            elif a != b:
                raise Unequal(f"line {getattr(old, 'lineno', 0)}: {a!r} became {b!r}")

    def _renamed(self, old: ast.AST, new: ast.AST) -> bool:
        """Whether a pair of nodes is a name or string that an edit rewrote."""
        if isinstance(old, ast.JoinedStr) and isinstance(new, ast.JoinedStr):
            return self._edited(old, inside=True) and len(old.values) == len(new.values)
        if isinstance(old, ast.Constant) and isinstance(new, ast.Constant):
            return isinstance(old.value, str) and isinstance(new.value, str) and self._edited(old, inside=True)
        if isinstance(old, ast.Name | ast.Attribute) and isinstance(new, ast.Name | ast.Attribute):
            return self._edited(old, inside=False) and _is_chain(old) and _is_chain(new)
        if type(old) is not type(new):
            raise Unequal(f"line {getattr(old, 'lineno', 0)}: {type(old).__name__} became {type(new).__name__}")
        return False

    def _edited(self, node: ast.expr, inside: bool) -> bool:
        start, end = self.source.span(node)
        if inside:
            return bisect_left(self.ordered, start) < bisect_left(self.ordered, end)
        return start in self.starts


def _by_lines(body: Sequence[ast.stmt]) -> Iterator[list[ast.stmt]]:
    """Group statements that share a line (``a; b``)."""
    group: list[ast.stmt] = []
    for statement in body:
        if group and _first_line(statement) > (group[-1].end_lineno or group[-1].lineno):
            yield group
            group = []
        group.append(statement)
    if group:
        yield group


def _first_line(statement: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(decorator.lineno for decorator in decorators)])


def _is_chain(node: ast.expr) -> bool:
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name)


def _bound(statements: Sequence[ast.stmt]) -> set[str]:
    """Return the names that imports and simple assignments bind."""
    names: set[str] = set()
    for statement in statements:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name.partition(".")[0] for alias in statement.names} - {"*"}
        elif isinstance(statement, ast.Assign):
            names |= {target.id for target in statement.targets if isinstance(target, ast.Name)}
    return names
