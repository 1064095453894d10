"""Verdicts as one HTML page that needs nothing beside it, with a plot of the drift."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from migrate.verify.report.drift import drift_svg
from migrate.verify.report.text import label, short, summary
from migrate.verify.verdict import Verdict, worst

_TEMPLATE = "page.html.j2"
# A browser shows a thousand rows at once without a wait; the JSON has all.
MAX_ROWS = 400


def to_html(verdicts: Sequence[Verdict]) -> str:
    """Return the page."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(_TEMPLATE).render(
        verdicts=verdicts,
        outcome=worst(one.outcome for one in verdicts).value,
        label=label,
        summary=summary,
        plot=_plot,
        short=short,
        max_rows=MAX_ROWS,
        error=lambda value: "" if value is None else f"{value:.3g}",
    )


def _plot(verdict: Verdict) -> str:
    return drift_svg(verdict.drift, None if verdict.first is None else verdict.first.step)
