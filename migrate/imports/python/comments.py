"""Old names in comments: nothing to rewrite with certainty, but worth a look."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migrate.imports.python.strings import Hit, report_text

if TYPE_CHECKING:
    from migrate.imports.python.plan import Planner


def report_comments(planner: Planner, hits: list[Hit]) -> None:
    """Report the old names that stand in comments."""
    source = planner.source
    commented = [hit for hit in hits if "#" in source.text[source.starts[source.line(hit.start) - 1] : hit.start]]
    if not commented:
        return
    nodes = [*(text.node for text in planner.found.texts), *planner.found.joined]
    strings = [source.span(node) for node in nodes]
    for hit in commented:
        mark = source.text.find("#", source.starts[source.line(hit.start) - 1], hit.start)
        while mark >= 0 and any(start <= mark < end for start, end in strings):
            mark = source.text.find("#", mark + 1, hit.start)
        if mark >= 0 and not any(start <= hit.start < end for start, end in strings):
            report_text(planner, hit)
