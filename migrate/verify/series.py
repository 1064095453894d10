"""How far two traces are apart by step, from the numbers in them. Loads without torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from migrate.verify import views
from migrate.verify.collector import number
from migrate.verify.numbers import relative_error
from migrate.verify.trace.reader import Step, Trace
from migrate.verify.verdict import Series

_MOST_POINTS = 400


def drift(reference: Trace, candidate: Trace, control: Trace | None = None) -> tuple[Series, ...]:
    """Return the relative difference of losses, gradient norms and learning rates, where both have numbers.

    Args:
        reference: The one run.
        candidate: The other.
        control: A second run of the reference, whose difference from the first is the noise.
    """
    found = []
    for name, get in (("loss", _loss), ("gradient norm", _norm), ("learning rate", _rate)):
        errors = _errors(reference, candidate, get)
        if not errors:
            continue
        noise = _errors(reference, control, get) if control is not None else {}
        every = max(1, len(errors) // _MOST_POINTS)
        steps = list(errors)[::every]
        shared = tuple(noise.get(step, 0.0) for step in steps) if noise else ()
        found.append(Series(name, tuple(steps), tuple(errors[step] for step in steps), shared))
    return tuple(found)


def shifted(series: Series, by: int) -> Series:
    """Return a series whose steps are counted over the whole run."""
    return dataclasses.replace(series, steps=tuple(step + by for step in series.steps))


def _errors(reference: Trace, other: Trace, get: Callable[[Step], float | None]) -> dict[int, float]:
    found = {}
    for place, pair in enumerate(zip(reference.steps, other.steps, strict=False), 1):
        one, two = map(get, pair)
        if one is not None and two is not None:
            found[place] = relative_error(one, two)
    return found


def _loss(step: Step) -> float | None:
    values = [number(value) for value in views.effective_losses(step, step.optimizer)]
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _norm(step: Step) -> float | None:
    return number(step.clips[-1]["norm"]) if step.clips else None


def _rate(step: Step) -> float | None:
    return number(step.groups[0].get("lr")) if step.groups else None
