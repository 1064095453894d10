"""The checkpoints of two runs in pairs, and the last pair that holds the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bem_core.errors import BemError
from migrate.verify.cases import Case
from migrate.verify.checkpoints import CheckpointReport
from migrate.verify.saved import Saved

NAMES = ("reference", "candidate")


@dataclass(frozen=True, slots=True)
class Sides:
    """The checkpoints of both sides by step, those that only one has left out.

    Attributes:
        reference: Of the reference.
        candidate: Of the candidate.
    """

    reference: dict[int, Path]
    candidate: dict[int, Path]

    @property
    def steps(self) -> list[int]:
        """Return the steps of both, in order."""
        return sorted(self.reference)


@dataclass(slots=True)
class Search:
    """What comparing checkpoints has found.

    Attributes:
        last_equal: Step of the last pair that holds the same; None where the first one differs already.
        first_different: Step of the first pair that does not; None where the last one holds the same.
        reports: All comparisons by step, in the order in which they were made.
    """

    last_equal: int | None = None
    first_different: int | None = None
    reports: dict[int, CheckpointReport] = field(default_factory=dict)


def shared(case: Case, saved: Sequence[Sequence[Saved]], outs: Sequence[Path]) -> Sides:
    """Return the checkpoints of steps that both sides have one of.

    Raises:
        BemError: There are none; or one side has two of a step.
    """
    tables: list[dict[int, Path]] = []
    for name, some, out in zip(NAMES, saved, outs, strict=True):
        pattern = getattr(case, name).checkpoints
        if not some:
            raise BemError(f"{name}: nothing below {out} fits {pattern!r} with a number in its group")
        tables.append({})
        for one in some:
            if one.step in tables[-1]:
                paths = f"{tables[-1][one.step]} and {one.path}"
                raise BemError(f"{name}: two checkpoints of step {one.step}: {paths}; {pattern!r} fits both")
            tables[-1][one.step] = one.path
    both = tables[0].keys() & tables[1].keys()
    if not both:
        steps = [", ".join(map(str, list(table)[:8])) + (", ..." if len(table) > 8 else "") for table in tables]
        raise BemError(f"no step has a checkpoint of both: the reference has {steps[0]}, the candidate {steps[1]}")
    first, second = ({step: table[step] for step in sorted(both)} for table in tables)
    return Sides(first, second)


def search_checkpoints(steps: Sequence[int], compare: Callable[[int], CheckpointReport]) -> Search:
    """Search for the last pair that holds the same before one that does not; both ends are compared first.

    Args:
        steps: That have a pair, in order.
        compare: Compares the pair of a step.
    """
    search = Search()

    def same(step: int) -> bool:
        search.reports[step] = search.reports.get(step) or compare(step)
        return search.reports[step].same

    low, high = 0, len(steps) - 1
    if same(steps[high]):
        search.last_equal = steps[high]
        same(steps[low])
        return search
    search.first_different = steps[high]
    if not same(steps[low]):
        search.first_different = steps[low]
        return search
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if same(steps[middle]) else (low, middle)
    search.last_equal, search.first_different = steps[low], steps[high]
    return search
