"""A summary for people: tables that both forms share, Markdown, and one HTML file that needs nothing beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bem_core.experiments.jobs import FINISHED, ExperimentsError
from bem_core.experiments.plots import Figure
from bem_core.experiments.results import Outcome
from bem_core.experiments.summary import ALPHA, Contrast, Level, Summary, lower_is_better
from bem_core.training.run_folder import write_json

JSON, MARKDOWN, HTML = "summary.json", "summary.md", "summary.html"
_TEMPLATE = "report.html.j2"
_GOOD, _BAD = ("better", "pass"), ("worse", "fail", "failed", "interrupted")


@dataclass(frozen=True, slots=True)
class Table:
    """A table; its first columns are text, the others numbers as text.

    Attributes:
        note: What a reader has to know about it.
        texts: How many columns are text, and so aligned to the left.
    """

    title: str
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str = ""
    texts: int = 1


def tables(summary: Summary) -> list[Table]:
    """Return the tables of a summary: one for each metric, then gates, then runs."""
    found = [_metric_table(summary, metric) for metric in summary.metrics]
    found += [_gate_table(summary)] if summary.gates else []
    return [*found, _run_table(summary)]


def _metric_table(summary: Summary, metric: str) -> Table:
    percent = f"{100 * summary.confidence:g}%"
    head: tuple[str, ...] = ("experiment", "seeds", "mean", f"{percent} interval", "std")
    compared = [one for one in summary.contrasts if one.metric == metric]
    if compared:
        head = (*head, f"difference to {summary.baseline}", f"{percent} interval", "p", "p (Holm)", "verdict")
    levels = [one for one in summary.levels if one.metric == metric]
    by_name = {one.experiment: one for one in compared}
    rows = [_level_cells(one) + (_contrast_cells(by_name.get(one.experiment)) if compared else ()) for one in levels]
    direction = "lower is better" if lower_is_better(metric) else "higher is better"
    notes = [direction, *_notes(levels, compared)]
    return Table(metric, head, rows, "; ".join(notes) + ".")


def _level_cells(level: Level) -> tuple[str, ...]:
    interval = _interval(level.low, level.high) or level.method
    return (level.experiment, str(len(level.values)), _number(level.mean), interval, _number(level.std))


def _contrast_cells(contrast: Contrast | None) -> tuple[str, ...]:
    if contrast is None:
        return ("", "", "", "", "baseline")
    p_values = (_number(contrast.p_value, 3), _number(contrast.p_holm, 3))
    interval = _interval(contrast.low, contrast.high)
    return (_number(contrast.difference, signed=True), interval, *p_values, contrast.verdict or contrast.note)


def _notes(levels: Sequence[Level], compared: Sequence[Contrast]) -> Iterator[str]:
    for level in levels:
        if level.left_out:
            yield f"{level.experiment}: not finite, left out: seed {', '.join(map(str, level.left_out))}"
    least = min((one.least_p for one in compared if one.least_p is not None), default=0.0)
    if least > ALPHA:
        yield f"so few seeds cannot show a difference: the least corrected p that they can give is {least:.3g}"


def _gate_table(summary: Summary) -> Table:
    rows = [
        (name, gate.key, gate.status, gate.reason) for name, report in summary.gates.items() for gate in report.results
    ]
    note = "Held against the means over seeds" + (f", changes against {summary.baseline}." if summary.baseline else ".")
    return Table("Quality gates", ("experiment", "gate", "status", "reason"), rows, note, texts=4)


def _run_table(summary: Summary) -> Table:
    head = ("experiment", "status", "seed", "steps", "seconds", "parameters", "memory (MB)", "folder")
    return Table("Runs", head, [_run_cells(one) for one in summary.outcomes], texts=2)


def _run_cells(run: Outcome) -> tuple[str, ...]:
    memory = run.measured.get("peak_memory_bytes")
    place = run.folder if run.status == FINISHED or not run.message else f"{run.folder}: {run.message}"
    return (
        run.experiment,
        run.status,
        str(run.seed),
        str(run.training.get("total_steps", "")),
        _number(run.training.get("total_time_s"), 3),
        f"{run.measured['num_parameters']:,.0f}" if "num_parameters" in run.measured else "",
        "" if memory is None else f"{memory / 1e6:,.0f}",
        place,
    )


def _number(value: float | None, digits: int = 4, signed: bool = False) -> str:
    return "" if value is None else f"{value:{'+' if signed else ''}.{digits}g}"


def _interval(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return ""
    # What resampling leaves of a zero is a rounding error.
    least = 1e-12 * max(abs(low), abs(high))
    low, high = (0.0 if abs(bound) < least else bound for bound in (low, high))
    return f"{low:.4g} to {high:.4g}"


def headline(summary: Summary) -> str:
    """Return what there is in one sentence."""
    counts = ", ".join(f"{number} {status}" for status, number in summary.counts().items())
    return f"{len(summary.experiments)} experiments, {len(summary.outcomes)} runs: {counts}"


def method(summary: Summary) -> str:
    """Return how the numbers were found."""
    text = "Means are over seeds, intervals are BCa bootstrap intervals of the mean (9999 resamples)."
    if summary.baseline is None:
        return text
    tests = sum(one.p_value is not None for one in summary.contrasts)
    return (
        f"{text} Each experiment is compared with {summary.baseline} on the seeds that both have, by the paired "
        f"test {summary.test!r}, two-sided; Holm's correction is over all {tests} tests. A verdict needs a corrected p "
        f"of at most {ALPHA}."
    )


def markdown(summary: Summary) -> str:
    """Return the summary as Markdown."""
    parts = ["# Experiments", f"{headline(summary)}.", method(summary)]
    for table in tables(summary):
        marks = [" --- " if place < table.texts else " ---: " for place in range(len(table.head))]
        lines = [_line(table.head), f"|{'|'.join(marks)}|", *map(_line, table.rows)]
        parts += [f"## {table.title}", *([table.note] if table.note else []), "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def html(summary: Summary, figures: Sequence[Figure] = ()) -> str:
    """Return the summary as one page.

    Args:
        summary: What is told.
        figures: Drawn above the tables.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.get_template(_TEMPLATE).render(
        headline=headline(summary),
        method=method(summary),
        tables=tables(summary),
        figures=figures,
        good=_GOOD,
        bad=_BAD,
    )


def write(summary: Summary, folder: Path, figures: Sequence[Figure] = ()) -> list[Path]:
    """Write the summary as JSON, Markdown and HTML; return the files.

    Raises:
        BemError: The folder cannot be written to.
    """
    write_json(folder / JSON, summary.to_dict())
    texts = {MARKDOWN: markdown(summary), HTML: html(summary, figures)}
    for name, text in texts.items():
        try:
            (folder / name).write_text(text, encoding="utf-8")
        except OSError as error:
            raise ExperimentsError(f"{folder / name}: cannot be written: {error.strerror or error}") from error
    return [folder / name for name in (JSON, MARKDOWN, HTML)]
