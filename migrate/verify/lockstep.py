"""Comparing updates where both sides begin each step in the same state: noise does not add up over steps.

After 120 free steps an error of 1e-4 in the learning rate is twice the noise of another number of threads; in lockstep
it is a hundred times that. States are those that ``--states-every 1`` saves beside a trace.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from migrate.verify.cases import Tolerance
from migrate.verify.distances import distance
from migrate.verify.names import Match
from migrate.verify.trace.recording.states import FIRST, file_name
from migrate.verify.verdict import Divergence, Series

# Channels whose values are numbers or digests of what an error of rounding changes; all others stay exact.
_NUMBERS = frozenset("losses components norm metrics clip".split())
_TENSORS = frozenset("parameters state buffers".split())
_FOLLOWING = frozenset("inputs outputs gradients end".split())
Key = tuple[int, str, str]


@dataclass(frozen=True, slots=True)
class Kept:
    """The states that a run has saved.

    Attributes:
        folder: Where they are.
        before: Steps that were done before the first of this run, where it went on from a checkpoint.
    """

    folder: Path
    before: int = 0

    def steps(self) -> dict[int, Path]:
        """Return them by the number of steps done."""
        paths = sorted(self.folder.glob("after_*.pt"))
        return {self.before + int(path.stem.removeprefix("after_")): path for path in paths}


@dataclass(frozen=True, slots=True)
class Update:
    """How far the update of a tensor is from that of the reference.

    Attributes:
        error: ``||c - r|| / ||r - r_before||`` for parameters and buffers; relative to the tensor for the state of an
            optimizer.
        rounding: What one rounding of each element comes to, in the same unit.
    """

    error: float
    rounding: float


def updates(reference: Path, other: Path, match: Match | None = None) -> dict[Key, Update]:
    """Measure all updates of a run that was put into the states of the reference.

    Args:
        reference: Folder of the states of the reference.
        other: Folder of those of the other run, each before it got the reference's.
        match: Names of the reference for those of the other run.

    Returns:
        By step from 1, kind and name.
    """
    found: dict[Key, Update] = {}
    before = _load(reference / FIRST)
    for step in range(1, _count(reference) + 1):
        after = _load(reference / file_name(step))
        path = other / file_name(step)
        if not path.exists():
            break
        for kind, name, one, two in _pairs(after, _load(path), match or Match({})):
            start = _flat(before)[kind].get(name) if kind != "state" else None
            found[step, kind, name] = _update(start, one, two)
        before = after
    return found


def _count(folder: Path) -> int:
    return sum(1 for _ in folder.glob("after_*.pt"))


def _load(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(path, weights_only=True)
    return loaded


def _flat(state: Mapping[str, Any]) -> dict[str, dict[str, Tensor]]:
    of_optimizer = {
        f"{name}.{key}": value
        for name, values in state["state"].items()
        for key, value in values.items()
        if isinstance(value, Tensor)
    }
    return {"parameters": state["parameters"], "buffers": state["buffers"], "state": of_optimizer}


def _pairs(one: Mapping[str, Any], other: Mapping[str, Any], match: Match) -> Iterator[tuple[str, str, Tensor, Tensor]]:
    first, second = _flat(one), _flat(other)
    for kind, tensors in second.items():
        for name, tensor in tensors.items():
            own = match.reference_state(name) if kind == "state" else match.reference_name(name)
            if own in first[kind]:
                yield kind, own, first[kind][own], tensor


def _update(before: Tensor | None, reference: Tensor, other: Tensor) -> Update:
    apart = distance(reference, other)
    if apart.note or not apart.num_different or not reference.is_floating_point():
        same = not apart.note and not apart.num_different
        return Update(0.0 if same else math.inf, 0.0)
    size = reference.double().norm().item()
    moved = size if before is None else (reference.double() - before.double()).norm().item()
    error = (reference.double() - other.double()).norm().item()
    rounding = torch.finfo(reference.dtype).eps * size
    return Update(error / moved, rounding / moved) if moved else Update(math.inf, 0.0)


def largest_noise(noise: Mapping[Key, Update]) -> dict[tuple[str, str], float]:
    """Return for each tensor the largest error that two runs of the reference have in any step."""
    found: dict[tuple[str, str], float] = {}
    for (_, kind, name), update in noise.items():
        found[kind, name] = max(found.get((kind, name), 0.0), update.error)
    return found


def judge(
    measured: Mapping[Key, Update], noise: Mapping[tuple[str, str], float], tolerance: Tolerance
) -> Callable[[Divergence], Divergence]:
    """Return what marks the differences that a tolerance covers.

    Args:
        measured: Updates of the candidate.
        noise: Of `largest_noise`.
        tolerance: Of the case.
    """

    def marked(one: Divergence) -> Divergence:
        if one.channel in _TENSORS:
            update = measured.get((one.step, one.channel, one.key))
            if update is None:
                return one
            bound = _bound(update, noise.get((one.channel, one.key), 0.0), tolerance)
            return dataclasses.replace(one, error=update.error, tolerated=update.error <= bound)
        if one.channel in _NUMBERS:
            return dataclasses.replace(one, tolerated=one.error is not None and one.error <= tolerance.scalars)
        # What follows from tensors that are measured themselves.
        follows = one.channel in _FOLLOWING or (one.channel == "checkpoint" and one.reference.startswith("tensor:"))
        return dataclasses.replace(one, tolerated=follows)

    return marked


def closest(
    measured: Mapping[Key, Update], noise: Mapping[tuple[str, str], float], tolerance: Tolerance
) -> Iterator[str]:
    """Yield a sentence on the update that comes nearest to its bound, or exceeds it the most."""
    shares = {}
    for key, update in measured.items():
        bound = _bound(update, noise.get(key[1:], 0.0), tolerance)
        shares[key] = update.error / bound if bound else (math.inf if update.error else 0.0)
    if shares:
        key = max(shares, key=lambda one: shares[one])
        step, kind, name = key
        yield (
            f"of {len(shares)} updates in lockstep, the one nearest to its bound is {kind} {name} in step {step}: "
            f"error {measured[key].error:.3g}, {shares[key]:.0%} of the bound"
        )


def _bound(update: Update, noise: float, tolerance: Tolerance) -> float:
    return max(tolerance.noise_factor * noise, tolerance.epsilons * update.rounding)


def drift_of_updates(measured: Mapping[Key, Update], noise: Mapping[Key, Update]) -> tuple[Series, ...]:
    """Return the largest error over the tensors of each kind by step, with the noise."""
    series = []
    for kind in sorted(_TENSORS):
        steps = sorted({step for step, own, _ in measured if own == kind})
        if steps:
            errors, floor = ([_largest(found, step, kind) for step in steps] for found in (measured, noise))
            series.append(Series(f"update of {kind}", tuple(steps), tuple(errors), tuple(floor)))
    return tuple(series)


def _largest(found: Mapping[Key, Update], step: int, kind: str) -> float:
    return max((update.error for (at, own, _), update in found.items() if (at, own) == (step, kind)), default=0.0)


def with_errors(
    divergences: Sequence[Divergence], reference: Kept, other: Kept, match: Match
) -> tuple[Divergence, ...]:
    """Return differences with the relative error of each tensor, where both runs saved the state after that step."""
    places = reference.steps(), other.steps()
    tables: dict[int, dict[tuple[str, str], float]] = {}
    found = []
    for one in divergences:
        if one.step not in tables:
            tables[one.step] = _errors_at(places[0].get(one.step), places[1].get(one.step), match)
        error = tables[one.step].get((one.channel, one.key), one.error)
        found.append(dataclasses.replace(one, error=error))
    return tuple(found)


def _errors_at(reference: Path | None, other: Path | None, match: Match) -> dict[tuple[str, str], float]:
    if reference is None or other is None:
        return {}
    pairs = _pairs(_load(reference), _load(other), match)
    return {(kind, name): distance(one, two).relative for kind, name, one, two in pairs}


def free_drift(reference: Kept, other: Kept, match: Match) -> tuple[Series, ...]:
    """Return how far tensors of two free runs are apart, relative to their size, by the states that both saved."""
    first, second = reference.steps(), other.steps()
    steps = [step for step in first if step in second]
    errors: dict[str, list[float]] = {kind: [] for kind in ("parameters", "state", "buffers")}
    for step in steps:
        totals = dict.fromkeys(errors, (0.0, 0.0))
        for kind, _, one, two in _pairs(_load(first[step]), _load(second[step]), match):
            apart, size = totals[kind]
            delta = (one.double() - two.double()).norm().item() ** 2 if one.shape == two.shape else math.inf
            totals[kind] = apart + delta, size + one.double().norm().item() ** 2
        for kind, (apart, size) in totals.items():
            errors[kind].append(math.sqrt(apart / size) if size else (math.inf if apart else 0.0))
    return tuple(Series(kind, tuple(steps), tuple(found)) for kind, found in errors.items() if any(found))
