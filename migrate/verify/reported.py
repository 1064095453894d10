"""Metrics that both sides reported, under the names of the reference. Pure; loads without torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from migrate.verify.cases import Case, Metrics
from migrate.verify.names import Match, match
from migrate.verify.trace.reader import Events, Trace
from migrate.verify.verdict import Guard


@dataclass(frozen=True, slots=True)
class Reports:
    """The metrics of one side.

    Attributes:
        names: Names of the reference for those of this side; empty for the reference itself.
        lone: Names that are not compared, because only this side has them.
    """

    names: Match
    lone: frozenset[str]

    def values(self, records: Iterable[Events]) -> dict[str, str]:
        """Return what records have, as the reference calls it; what is reported again gets a number."""
        found: dict[str, str] = {}
        for record in records:
            for name, value in record.metrics:
                if name not in self.lone:
                    found[_free(self.names.reference_name(name), found)] = value
        return found


def _free(name: str, taken: Mapping[str, str]) -> str:
    if name not in taken:
        return name
    number = next(number for number in range(2, len(taken) + 2) if f"{name} ({number})" not in taken)
    return f"{name} ({number})"


def reports(reference: Trace, candidate: Trace, metrics: Metrics) -> tuple[Reports, Reports]:
    """Return the metrics of both sides, with names matched as a case says."""
    one, other = metric_names(reference), metric_names(candidate)
    lone = _fitting(one, metrics.only_reference), _fitting(other, metrics.only_candidate)
    shared = [name for name in one if name not in lone[0]], [name for name in other if name not in lone[1]]
    found = match(shared[0], shared[1], metrics.names) if metrics.names else Match({})
    return Reports(Match({}), lone[0]), Reports(found, lone[1])


def metric_names(trace: Trace) -> list[str]:
    """Return the names of all metrics of a run, in the order in which they came."""
    records = (*trace.evaluations, *trace.steps, *([trace.rest] if trace.rest else []))
    return list(dict.fromkeys(name for record in records for name, _ in record.metrics))


def _fitting(names: Iterable[str], patterns: Iterable[str]) -> frozenset[str]:
    return frozenset(name for name in names if any(re.fullmatch(one, name) for one in patterns))


def metric_guards(case: Case, reference: Trace, candidate: Trace) -> Iterator[Guard]:
    """Ask whether metrics that the case names were compared, and whether there are those that it leaves out."""
    sides = (
        ("reference", reference, case.metrics.only_reference),
        ("candidate", candidate, case.metrics.only_candidate),
    )
    for who, trace, patterns in sides:
        for pattern, reason in patterns.items():
            count = len(_fitting(metric_names(trace), [pattern]))
            yield Guard(f"metrics only in the {who}", count > 0, f"{count} metrics fit {pattern!r}: {reason}")
    if case.reference.metrics and case.candidate.metrics:
        one, other = (
            {side.names.reference_name(name) for name in metric_names(trace) if name not in side.lone}
            for side, trace in zip(reports(reference, candidate, case.metrics), (reference, candidate), strict=True)
        )
        yield Guard("metrics", bool(one & other), f"{len(one & other)} metrics that both sides have")
