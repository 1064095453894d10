"""Figures of a summary, drawn by matplotlib as SVG that stands inside a page."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bem_core.experiments.results import Curve
from bem_core.experiments.summary import Summary, lower_is_better
from bem_core.utils.extras import import_extra

_COLUMNS = 3
# What is logged at each step and tells nothing about the outcome.
_NOT_DRAWN = ("lr", "grad_norm")
# Okabe and Ito, Color Universal Design (2008): told apart by readers who do not see all colours.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing.

    Attributes:
        svg: The element, without the head of a file.
        caption: What it shows.
    """

    svg: str
    caption: str


def require() -> None:
    """See that figures can be drawn.

    Raises:
        MissingExtraError: The extra ``plots`` is not installed.
    """
    import_extra("matplotlib", "plots", "the report with plots")


def figures(summary: Summary) -> list[Figure]:
    """Return the figures of a summary: levels with intervals, and curves over the steps.

    Raises:
        MissingExtraError: The extra ``plots`` is not installed.
    """
    require()
    found = []
    if summary.levels:
        percent = f"{100 * summary.confidence:g}%"
        caption = f"Each dot is a seed; the mark is the mean, the bar its {percent} bootstrap interval."
        found.append(Figure(_levels(summary), caption))
    names = _curve_names(summary)
    if names:
        found.append(Figure(_curves(summary, names), "Over the steps: mean over seeds, and the range of the seeds."))
    return found


def _grid(number: int, height: float) -> tuple[Any, list[Any]]:
    from matplotlib.figure import Figure as Drawing

    columns = min(number, _COLUMNS)
    rows = -(-number // columns)
    # Not pyplot: it keeps every figure, and a default backend may want a display.
    drawing = Drawing(figsize=(4.2 * columns, height * rows), layout="constrained")
    axes = list(drawing.subplots(rows, columns, squeeze=False).flat)
    for unused in axes[number:]:
        unused.set_visible(False)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(color="#e4e7eb", linewidth=0.8)
        axis.set_axisbelow(True)
    return drawing, axes[:number]


def _levels(summary: Summary) -> str:
    names = summary.experiments
    drawing, axes = _grid(len(summary.metrics), 1.1 + 0.32 * len(names))
    for axis, metric in zip(axes, summary.metrics, strict=True):
        for row, name in enumerate(names):
            level = summary.level(name, metric)
            if level is None or level.mean is None:
                continue
            colour = _colour(row)
            values = list(level.values.values())
            axis.plot(values, [row] * len(values), "o", color=colour, alpha=0.35, markersize=4, markeredgewidth=0)
            if level.low is not None and level.high is not None:
                axis.plot([level.low, level.high], [row, row], color=colour, linewidth=2.2, solid_capstyle="butt")
            axis.plot([level.mean], [row], "D", color=colour, markersize=6)
        axis.set_yticks(range(len(names)), names)
        axis.set_ylim(len(names) - 0.5, -0.5)
        direction = "lower" if lower_is_better(metric) else "higher"
        axis.set_title(f"{metric} ({direction} is better)", fontsize=10, loc="left")
    return _svg(drawing, "levels")


def _curve_names(summary: Summary) -> list[str]:
    longest: dict[str, int] = {}
    for outcome in summary.outcomes:
        for name, curve in outcome.curves.items():
            if not name.startswith(_NOT_DRAWN):
                longest[name] = max(longest.get(name, 0), len(curve))
    return [name for name, length in longest.items() if length > 1]


def _curves(summary: Summary, names: Sequence[str]) -> str:
    drawing, axes = _grid(len(names), 2.6)
    for axis, name in zip(axes, names, strict=True):
        for number, experiment in enumerate(summary.experiments):
            runs = [one.curves[name] for one in summary.outcomes if one.experiment == experiment and name in one.curves]
            if runs:
                _draw_curve(axis, runs, experiment, _colour(number))
        axis.set_title(name, fontsize=10, loc="left")
        axis.set_xlabel("step", fontsize=9)
    axes[0].legend(fontsize=8, frameon=False)
    return _svg(drawing, "curves")


def _draw_curve(axis: Any, runs: Sequence[Curve], label: str, colour: str) -> None:
    steps = sorted({step for run in runs for step, _ in run})
    at = [dict(run) for run in runs]
    columns = [[run[step] for run in at if step in run] for step in steps]
    axis.plot(steps, [np.mean(column) for column in columns], color=colour, label=label, linewidth=1.6)
    low, high = [min(column) for column in columns], [max(column) for column in columns]
    axis.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]


def _svg(drawing: Any, salt: str) -> str:
    from matplotlib import rc_context

    buffer = io.StringIO()
    # Text stays text, and the same numbers give the same bytes; names inside differ from those of the other figures.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": salt, "font.family": "sans-serif"}):
        drawing.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
