"""Old names and paths in comments: nothing to rewrite with certainty, but worth a look."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from migrate.imports.python.strings import Hit, PathHit, report_paths, report_text

if TYPE_CHECKING:
    from migrate.imports.python.plan import Planner


def report_comments(planner: Planner, hits: list[Hit], paths: list[PathHit]) -> None:
    """Report the old names, and the paths of moved modules, that stand in comments."""
    comments = _Comments(planner)
    for hit in hits:
        if comments.hold(hit.start):
            report_text(planner, hit)
    report_paths(planner, [path for path in paths if comments.hold(path[0])])


class _Comments:
    """Tells whether an offset lies in a comment, for the lines that were walked."""

    def __init__(self, planner: Planner) -> None:
        self.source = planner.source
        nodes = [*(text.node for text in planner.found.texts), *planner.found.joined]
        # Strings do not overlap, but for the parts of an f-string, which have the span of all of it.
        self.strings = sorted({self.source.span(node) for node in nodes})

    def hold(self, offset: int) -> bool:
        begin = self.source.starts[self.source.line(offset) - 1]
        mark = self.source.text.find("#", begin, offset)
        while mark >= 0 and self._in_string(mark):
            mark = self.source.text.find("#", mark + 1, offset)
        return mark >= 0 and not self._in_string(offset)

    def _in_string(self, offset: int) -> bool:
        at = bisect_right(self.strings, offset, key=lambda span: span[0])
        return any(start <= offset < end for start, end in self.strings[max(0, at - 3) : at])
