"""A case whose sides are compared by their last metrics over seeds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from migrate.verify.cases import Case, Equivalent
from migrate.verify.collector import number
from migrate.verify.equivalence import MetricRow, compare_metrics
from migrate.verify.guards import guards_of
from migrate.verify.names import renamed
from migrate.verify.runner import Recorded, Runner, SideFailed
from migrate.verify.trace.reader import Trace
from migrate.verify.verdict import Guard, Outcome, Verdict

Values = dict[str, list[float]]


def compare_over_seeds(case: Case, folder: Path) -> Verdict:
    """Run both sides once a seed, and test each metric for equivalence within its margin."""
    assert case.equivalence is not None
    values: tuple[Values, Values] = {}, {}
    guards: list[Guard] = []
    sides: dict[str, Any] = {}
    steps = 0
    for seed in case.seeds:
        runner = Runner(case, seed, folder / f"seed{seed}")
        runner.folder.mkdir(parents=True, exist_ok=True)
        try:
            runner.prepare()
            pair = [runner.record("reference", case.reference), runner.record("candidate", case.candidate)]
            for into, recorded, names in zip(values, pair, ({}, case.metrics.names), strict=True):
                _add(into, recorded, case.equivalence, names)
        except SideFailed as error:
            reasons = (f"seed {seed}: {error}",)
            return Verdict(case=case.name, outcome=Outcome.INCONCLUSIVE, reasons=reasons, notes=error.notes)
        guards += guards_of(pair[0].trace, pair[1].trace, case)
        steps = min(len(one.trace.steps) for one in pair)
        sides |= {f"{name} seed {seed}": told for name, told in runner.sides.items()}
    rows = compare_metrics(*values, case.equivalence.margins, case.equivalence.alpha)
    verdict = _verdict(case, case.equivalence, rows, [guard for guard in guards if not guard.holds])
    return dataclasses.replace(verdict, steps=steps, guards=tuple(guards), sides=sides)


def _add(values: Values, recorded: Recorded, wanted: Equivalent, names: Mapping[str, str]) -> None:
    if recorded.finished.failure or recorded.trace.problem:
        raise SideFailed(recorded.finished.failure or str(recorded.trace.problem))
    last = last_metrics(recorded.trace)
    for metric in wanted.margins:
        name = renamed(metric, names)
        if name not in last:
            there = ", ".join(last) or "none"
            raise SideFailed(f"no metric {name!r} was recorded; there are: {there}")
        values.setdefault(metric, []).append(last[name])


def last_metrics(trace: Trace) -> dict[str, float]:
    """Return the last value of each metric of a run, and ``loss``: the mean of the last tenth of its steps."""
    found: dict[str, float] = {}
    losses = [value for step in trace.steps for text in step.losses if (value := number(text)) is not None]
    if losses:
        tail = losses[-max(1, len(losses) // 10) :]
        found["loss"] = sum(tail) / len(tail)
    for events in (*trace.steps, *trace.evaluations, *([trace.rest] if trace.rest else [])):
        for name, text in events.metrics:
            value = number(text)
            if value is not None:
                found[name] = value
    return found


def _verdict(case: Case, wanted: Equivalent, rows: list[MetricRow], empty: list[Guard]) -> Verdict:
    open_ones = [str(row) for row in rows if not row.equivalent]
    outcome = Outcome.WITHIN_TOLERANCE
    if open_ones:
        outcome = Outcome.DIFFERENT
    elif empty:
        outcome = Outcome.VACUOUS
    reasons = [*open_ones, *(f"{guard.name}: {guard.detail}" for guard in empty)]
    metrics = tuple({**dataclasses.asdict(row), "text": str(row)} for row in rows)
    return Verdict(
        case=case.name,
        outcome=outcome,
        reasons=tuple(reasons) or (f"equivalent within the margins of the case: {wanted.reason}",),
        metrics=metrics,
        mode="statistical",
    )
