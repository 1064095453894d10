"""Verdicts on a terminal: one line each, then why it is not better."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from migrate.verify.verdict import Divergence, Outcome, Verdict

if TYPE_CHECKING:
    from rich.console import Console

SHOWN = 8
STYLES = {
    Outcome.IDENTICAL: "green",
    Outcome.WITHIN_TOLERANCE: "green",
    Outcome.DIFFERENT: "red",
    Outcome.INCONCLUSIVE: "yellow",
    Outcome.VACUOUS: "yellow",
    Outcome.STALE_WAIVER: "yellow",
}


def show(verdicts: Sequence[Verdict], console: Console, everything: bool = False) -> None:
    """Print each verdict, with what a person needs to go on from there."""
    from rich.text import Text

    for verdict in verdicts:
        line = Text(f"{label(verdict)}  ") + Text(verdict.outcome.value, STYLES[verdict.outcome])
        console.print(line + Text(f"  {summary(verdict)}", "dim"))
        for reason in verdict.reasons if everything else verdict.reasons[:SHOWN]:
            console.print(f"  {reason}", markup=False, highlight=False)
        if len(verdict.reasons) > SHOWN and not everything:
            console.print(f"  ... and {len(verdict.reasons) - SHOWN} more reasons: --all shows them")
        _show_details(verdict, console, everything)
        for note in verdict.notes:
            console.print(f"  note: {note}", markup=False, highlight=False, style="dim")


def label(verdict: Verdict) -> str:
    """Return the name of a case, with its seed where it has one."""
    return verdict.case if verdict.seed is None else f"{verdict.case} seed {verdict.seed}"


def summary(verdict: Verdict) -> str:
    """Return on what a verdict rests, in a few words."""
    parts = [f"{verdict.steps} steps"] if verdict.steps else []
    compared = sum(one.compared for one in verdict.channels)
    parts += [f"{compared} values in {len(verdict.channels)} channels"] if compared else []
    parts += [f"{len(verdict.metrics)} metrics"] if verdict.metrics else []
    parts += [verdict.mode] if verdict.mode != "free" else []
    parts += [f"reference {verdict.noise}"] if verdict.noise else []
    return ", ".join(parts)


def _show_details(verdict: Verdict, console: Console, everything: bool) -> None:
    first = verdict.first
    if first is not None:
        same_step = [one for one in verdict.divergences if one.open and one.step == first.step]
        if len(same_step) > 1:
            console.print(_table(same_step if everything else same_step[:SHOWN]))
        if len(same_step) > SHOWN and not everything:
            console.print(f"  ... and {len(same_step) - SHOWN} more in step {first.step}: --all shows them")
    if verdict.localised is not None:
        where = f"  module {verdict.localised.module}: " if verdict.localised.module else "  "
        console.print(f"{where}{verdict.localised.detail}", markup=False, highlight=False)
        if verdict.localised.apart is not None:
            console.print(f"    {verdict.localised.apart}", markup=False, highlight=False)
        if verdict.localised.cause:
            console.print(f"  likely cause: {verdict.localised.cause}", markup=False, highlight=False)
        for frame in verdict.localised.stack:
            console.print(f"    {frame}", markup=False, highlight=False)
    for row in verdict.metrics:
        console.print(f"  {row['text']}", markup=False, highlight=False)


def _table(divergences: Sequence[Divergence]) -> Any:
    from rich.table import Table

    table = Table("  phase", "channel", "key", "reference", "candidate", "error", box=None, pad_edge=False)
    for one in divergences:
        error = "" if one.error is None else f"{one.error:.3g}"
        table.add_row(f"  {one.phase}", one.channel, one.key, short(one.reference), short(one.candidate), error)
    return table


def short(text: str) -> str:
    """Return a value for a table: of a digest its beginning, of other texts 40 characters."""
    if re.fullmatch("[0-9a-f]{32}", text):
        return text[:12]
    return text if len(text) <= 40 else f"{text[:37]}..."
