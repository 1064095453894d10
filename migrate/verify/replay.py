"""Runs the first step that differs again on both sides, with every module recorded, and says where it comes from.

A side that can go on from its checkpoints begins at the last one before that step. That it can is not believed: the
replayed step must be the one of the side's own run, else the side runs from the start.
"""

from __future__ import annotations

import dataclasses
import datetime
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from migrate.verify import channels
from migrate.verify.cases import Side
from migrate.verify.collector import Collector
from migrate.verify.compare import match_names
from migrate.verify.distances import describe, distance
from migrate.verify.localise import Pair, cause_of, localise
from migrate.verify.lockstep import Kept, free_drift, with_errors
from migrate.verify.runner import Recorded, Runner, SideFailed
from migrate.verify.saved import Saved
from migrate.verify.trace.reader import Step, Trace
from migrate.verify.trace.recording.values import MOST_BYTES, value_name
from migrate.verify.verdict import Apart, Divergence, Localised, Verdict
from migrate.verify.views import View

# Runs that are shorter are repeated to their end, so that the drift of tensors can be drawn.
WHOLE_S = 60.0
# Points of that plot; each is a full state on the disk for a while.
_STATES = 20
_STATES_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Own:
    """A run that a replay of one of its steps must repeat.

    Attributes:
        name: ``reference`` or ``candidate``.
        side: What ran.
        trace: Of the process that is looked at.
        saved: Checkpoints that the side can go on from, by step.
        seconds: How long it took.
        before: Steps that were done before the first one of the trace.
    """

    name: str
    side: Side
    trace: Trace
    saved: Sequence[Saved] = ()
    seconds: float = 0.0
    before: int = 0

    def step(self, number: int) -> Step | None:
        """Return a step by its number from 1 in the whole run."""
        return _step(self.trace, number - self.before)


@dataclass(frozen=True, slots=True)
class _Replayed:
    recorded: Recorded
    before: int


def localised(runner: Runner, verdict: Verdict, owns: Sequence[Own]) -> Verdict:
    """Replay the first step that differs, and add to a verdict where the difference comes from.

    Args:
        runner: Runs the sides.
        verdict: Has a first difference; its steps are counted over the whole run.
        owns: The runs of the reference and of the candidate that it is about.
    """
    first = verdict.first
    assert first is not None
    step = max(first.step, 1)
    quick = max(own.seconds for own in owns) < WHOLE_S
    whole = quick and not any(own.before or own.side.resume for own in owns)
    every = _states_every(owns[0].trace, verdict.steps, step) if whole else 0
    notes: list[str] = []
    try:
        pair = [_Replay(runner, own, step, verdict.process, every, notes).run() for own in owns]
    except SideFailed as error:
        found = Localised(f"it could not be replayed: {error}", cause=cause_of(first))
        return dataclasses.replace(verdict, localised=found, notes=(*verdict.notes, *notes))
    traces = [one.recorded.trace_of(verdict.process) for one in pair]
    found, place = localise(traces[0], traces[1], first, runner.case.names, (pair[0].before, pair[1].before))
    if place is not None:
        found = _with_values(found, place, [one.recorded.values_of(verdict.process) for one in pair], notes)
    match = match_names(traces[0], traces[1], runner.case)
    kept = [Kept(one.recorded.states_of(verdict.process), one.before) for one in pair]
    divergences = with_errors(verdict.divergences, kept[0], kept[1], match)
    if not whole:
        notes.append(f"the replays ended after step {step}, so the drift of tensors is not drawn beyond it")
    return dataclasses.replace(
        verdict,
        localised=found,
        drift=(*free_drift(kept[0], kept[1], match), *verdict.drift),
        divergences=divergences,
        notes=(*verdict.notes, *notes),
    )


@dataclass(frozen=True, slots=True)
class _Replay:
    """The replay of one step of one side.

    Attributes:
        runner: Runs it.
        own: The run that it must repeat.
        step: From 1, over the whole run.
        process: Whose trace is looked at.
        every: How often to save states of a run to its end; 0 ends it after the step.
        notes: Gets what a reader should know.
    """

    runner: Runner
    own: Own
    step: int
    process: str
    every: int
    notes: list[str]

    def run(self) -> _Replayed:
        """Go on from the last checkpoint before the step if that repeats the step, else begin at the start.

        Raises:
            SideFailed: It cannot be run from the start.
        """
        name = self.own.name
        last = max((one for one in self.own.saved if 0 < one.step < self.step), default=None)
        if last is not None and self.own.side.resume:
            found, problem = self._resumed(last)
            if found is not None:
                self.notes.append(
                    f"{name}: step {self.step} was replayed from {last.path.name}, after step {last.step}"
                )
                return found
            self.notes.append(
                f"{name}: resumed from {last.path.name}, after step {last.step}, it does not repeat its own run: "
                f"{problem}; it was replayed from the start, and this resume counts for nothing"
            )
        found = self._recorded(None)
        if problem := self._departs(found):
            self.notes.append(f"{name}: run again, it does not repeat its own run: {problem}")
        return found

    def _resumed(self, last: Saved) -> tuple[_Replayed | None, str]:
        try:
            found = self._recorded(last)
        except SideFailed as error:
            return None, str(error)
        problem = self._departs(found)
        return (None, problem) if problem else (found, "")

    def _recorded(self, saved: Saved | None) -> _Replayed:
        before = 0 if saved is None else saved.step
        local = self.step - before
        # Steps before, one of which may be of multipliers, show which modules get something in another form.
        window = max(local - 3, 0), local + 1
        options: dict[str, Any] = {"level": "deep", "window": window, "values_of": local - 1}
        options |= {"states_every": self.every} if self.every else {"states_every": local, "stop_after": local + 1}
        path = None if saved is None else saved.path
        return _Replayed(self.runner.record(f"deep_{self.own.name}", self.own.side, path, **options), before)

    def _departs(self, found: _Replayed) -> str:
        """Return where a replay is not the run that it should repeat; empty if it is."""
        trace = found.recorded.trace_of(self.process)
        for number in (self.step, self.step + 1):
            one, other = self.own.step(number), _step(trace, number - found.before)
            if one is None:
                continue
            if other is None:
                ending = found.recorded.finished.failure or trace.problem
                return f"step {number} was not reached" + (f": {ending}" if ending else "")
            if first := _first_difference(number, (self.own.trace, one), (trace, other)):
                return f"{first.phase} of step {number}: {first.channel} {first.key}".rstrip()
        return ""


def _step(trace: Trace, number: int) -> Step | None:
    return next((step for step in trace.steps if step.number == number - 1), None)


def _first_difference(number: int, one: tuple[Trace, Step], other: tuple[Trace, Step]) -> Divergence | None:
    """Compare a step of two runs of one program; metrics may have been found before the run was resumed."""
    collector = Collector((), datetime.date.today())
    # A loader that skips what was done draws otherwise; what it gives shows in losses and gradients.
    drawn = {name for name in View(one[0]).generators() if not name.startswith("loader:")}
    # Optimizers are numbered as they were made: which one comes first depends on where the trace begins.
    first, second = (
        (View(trace, order={number: number for number in range(len(trace.names_of(step).optimizers))}), step)
        for trace, step in (one, other)
    )
    channels.compare_step(collector, number, (first, second), drawn)
    collector.end_block()
    return next((found for found in collector.divergences if found.channel != "metrics"), None)


def _states_every(trace: Trace, steps: int, first: int) -> int:
    """Return how often to save states: after the first step that differs, if the disk allows as many as that makes."""
    tensors = trace.names[0].parameters if trace.names else []
    # Parameters and two moments, mostly in 32 bits.
    size = 12 * sum(math.prod(one["shape"] or ()) for one in tensors)
    return first if steps // first * size <= _STATES_BYTES else max(1, steps // _STATES)


def _with_values(found: Localised, place: Pair, folders: Sequence[Path], notes: list[str]) -> Localised:
    """Add how far apart the values are that were found to differ."""
    paths = [
        folder / value_name(call) for folder, call in zip(folders, (place.reference, place.candidate), strict=True)
    ]
    if not all(path.exists() for path in paths):
        notes.append(f"the {place.what} was not kept: a replay keeps at most {MOST_BYTES >> 20} MiB")
        return found
    apart = apart_of(place.what, *(torch.load(path, weights_only=True) for path in paths))
    return found if apart is None else dataclasses.replace(found, error=apart.relative, apart=apart)


def apart_of(what: str, reference: Sequence[Tensor], candidate: Sequence[Tensor]) -> Apart | None:
    """Return how far apart the first tensors are that differ; None where none do."""
    for number, (one, other) in enumerate(zip(reference, candidate, strict=False), 1):
        found = distance(one, other)
        if not (found.num_different or found.note):
            continue
        at = found.first_index
        return Apart(
            what if len(reference) == 1 else f"{what} {number} of {len(reference)}",
            describe(one),
            one.numel(),
            found.num_different,
            found.relative,
            found.max_ulp,
            at,
            "" if at is None else repr(one[at].item()),
            "" if at is None else repr(other[at].item()),
            found.note,
        )
    return None
