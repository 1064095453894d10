"""What a rewriter knows about the file in hand."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from migrate.report import Finding

if TYPE_CHECKING:
    from migrate.imports.tree import Tree
    from migrate.moves import Moves


@dataclass(frozen=True, slots=True)
class Context:
    """The surroundings of one text.

    Attributes:
        path: File as findings name it.
        moves: The list of moves.
        tree: Which modules exist where; None where nothing is known (a snippet on stdin).
        modules: Dotted names of the file under each source root, for relative imports; empty for snippets.
        is_package: Whether the file is an ``__init__.py``.
        logger_names: Whether strings in ``logging.getLogger`` follow the moves.
        snippet: Whether the text is a piece of code inside a document.
        prefix_lines: Lines of the file before the text, added to the lines of findings.
    """

    path: str
    moves: Moves
    tree: Tree | None = None
    modules: tuple[str, ...] = ()
    is_package: bool = False
    logger_names: bool = False
    snippet: bool = False
    prefix_lines: int = field(default=0)

    def finding(self, text: str, offset: int, code: str, message: str, hint: str = "") -> Finding:
        """Make a finding at a character offset of ``text``."""
        head = text[:offset]
        line_start = max(head.rfind("\n"), head.rfind("\r")) + 1
        ends = [n for n in (text.find("\n", offset), text.find("\r", offset)) if n >= 0]
        source = text[line_start : min(ends, default=len(text))]
        newlines = head.count("\n") + head.count("\r") - head.count("\r\n")
        return Finding(
            self.path, self.prefix_lines + newlines + 1, offset - line_start + 1, code, message, hint, source.strip()
        )

    def as_snippet(self, prefix_lines: int = 0) -> Context:
        """Return the context of a piece of code inside a document: no module name, no relative imports."""
        return replace(self, modules=(), is_package=False, snippet=True, prefix_lines=self.prefix_lines + prefix_lines)
