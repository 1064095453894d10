"""Runs the two sides of a case, each in fresh processes, and gives verdicts."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bem_core.errors import BemError
from migrate.verify.cases import Case, Preparation, Side
from migrate.verify.children import Finished, pinned_environment, run_quietly, run_side
from migrate.verify.compare import compare, match_names
from migrate.verify.localise import cause_of, localise
from migrate.verify.names import Match
from migrate.verify.phases import PHASES
from migrate.verify.series import drift
from migrate.verify.trace.reader import Trace, TraceError, read_trace
from migrate.verify.trace.recording.settings import Settings
from migrate.verify.verdict import Localised, Outcome, Verdict, worst

_log = logging.getLogger(__name__)
# Points of the plot of tensors; each is a full state on the disk for a while.
_STATES = 20
_STATES_BYTES = 1 << 30
_TAIL_LINES = 15


class SideFailed(BemError):
    """One side gave no trace that can be read.

    Attributes:
        notes: The end of what it printed.
    """

    def __init__(self, message: str, notes: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.notes = notes


@dataclass(slots=True)
class Recorded:
    """One run of one side.

    Attributes:
        finished: How it ended.
        traces: By what is added to the name of the file: nothing for rank 0.
        states: Folder of its states.
    """

    finished: Finished
    traces: dict[str, Trace]
    states: Path

    @property
    def trace(self) -> Trace:
        """Return the trace of rank 0."""
        return self.traces[""]


@dataclass(slots=True)
class Runner:
    """Runs the sides of a case for one seed.

    Attributes:
        case: What is run.
        seed: Fills ``{seed}``.
        folder: Where traces, states and what the sides write go.
    """

    case: Case
    seed: int
    folder: Path
    sides: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def shared(self) -> Path:
        """Return the folder that the preparation writes and both sides read."""
        return self.folder / "shared"

    def prepare(self) -> None:
        """Run what the case has to be run before both sides.

        Raises:
            SideFailed: It failed.
        """
        if self.case.prepare:
            _empty(self.shared)
        for part in self.case.prepare:
            self._prepare(part)

    def _prepare(self, part: Preparation) -> None:
        case = self.case
        words, variables = case.filled(part, self.seed, self.shared, self.shared, sys.executable)
        _log.info("%s seed %d: preparation: %s", case.name, self.seed, shlex.join(words))
        environment = pinned_environment(case.threads, variables)
        failure, tail = run_quietly(words, case.folder / part.folder, environment, case.timeout_s)
        if failure:
            lines = "\n".join(["the end of what the preparation printed:", *tail.splitlines()[-_TAIL_LINES:]])
            raise SideFailed(f"preparation: {failure}", (lines,))

    def record(self, name: str, side: Side, **settings: Any) -> Recorded:
        """Run a side once.

        Args:
            name: Of this run; names its files.
            side: What is run.
            **settings: Of the tracer, besides those of the case.

        Raises:
            SideFailed: It wrote no trace.
        """
        case = self.case
        out = self.folder / f"{name}.out"
        _empty(out)
        given = {"level": case.level, "expect": list(side.expect), "metrics": list(side.metrics), **settings}
        states = self.folder / f"{name}.states"
        options = Settings(out=str(self.folder / f"{name}.trace"), states=str(states), **given)
        words, variables = case.filled(side, self.seed, out, self.shared, sys.executable)
        _log.info("%s seed %d: %s: %s", case.name, self.seed, name, shlex.join(words))
        environment = pinned_environment(case.threads, variables)
        finished = run_side(words, case.folder / side.folder, environment, options, case.timeout_s)
        told = {"command": shlex.join(words), "seconds": round(finished.seconds, 3), "exit_code": finished.exit_code}
        self.sides[name] = {**told, "trace": str(options.out)}
        return Recorded(finished, self._read(name, finished), states)

    def _read(self, name: str, finished: Finished) -> dict[str, Trace]:
        tail = tuple(finished.tail.splitlines()[-_TAIL_LINES:]) if finished.failure else ()
        notes = ("\n".join([f"the end of what the {name} printed:", *tail]),) if tail else ()
        traces = {}
        try:
            for file in finished.files:
                traces[file.name.partition(".trace")[2]] = read_trace(file)
        except TraceError as error:
            raise SideFailed(f"{name}: {finished.failure or error}", notes) from error
        if "" not in traces:
            raise SideFailed(f"{name}: {finished.failure or 'no trace of rank 0'}", notes)
        return traces


def _empty(folder: Path) -> None:
    """Make a folder that has nothing in it, also where an earlier run has left one."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)


def run_case(case: Case, folder: Path) -> Iterator[Verdict]:
    """Run a case for each of its seeds and yield a verdict for each, or one for all if metrics are compared.

    Args:
        case: What is compared.
        folder: For traces and what the sides write; one folder a seed is made in it.
    """
    if case.equivalence is not None:
        # It imports scipy.
        from migrate.verify.metrics import compare_over_seeds

        yield compare_over_seeds(case, folder)
        return
    for seed in case.seeds:
        runner = Runner(case, seed, folder / f"seed{seed}")
        runner.folder.mkdir(parents=True, exist_ok=True)
        try:
            runner.prepare()
            verdict = _run_pair(runner)
        except SideFailed as error:
            verdict = Verdict(case=case.name, outcome=Outcome.INCONCLUSIVE, reasons=(str(error),), notes=error.notes)
        yield dataclasses.replace(verdict, seed=seed, sides=runner.sides)


def _run_pair(runner: Runner) -> Verdict:
    """Let both sides run; where they differ, let the reference run again, so that its own noise is known.

    A candidate that is the same bit for bit is itself a second run that agrees, so there is no noise to ask for.
    """
    case = runner.case
    reference = runner.record("reference", case.reference)
    if reference.finished.failure:
        return _judged(case, reference, reference)
    candidate = runner.record("candidate", case.candidate)
    verdict = _judged(case, reference, candidate)
    if verdict.outcome is not Outcome.DIFFERENT:
        return verdict
    control = runner.record("control", case.reference)
    # Waivers and names are for the candidate.
    own = dataclasses.replace(case, waivers=[], names={}, only_candidate=case.only_reference)
    noise = _judged(own, reference, control)
    quiet = noise.first is None and noise.outcome is not Outcome.INCONCLUSIVE
    told = "agrees with itself" if quiet else f"does not agree with itself: {noise.first or noise.reasons[0]}"
    if case.tolerance is not None:
        return dataclasses.replace(_in_lockstep(runner), noise=told)
    series = drift(reference.trace, candidate.trace, None if quiet else control.trace)
    verdict = dataclasses.replace(verdict, noise=told, drift=series)
    if not quiet:
        reason = f"the reference {told}; a case with noise needs a tolerance and its reason"
        return dataclasses.replace(verdict, outcome=Outcome.INCONCLUSIVE, reasons=(reason, *verdict.reasons))
    return _localised(runner, verdict)


def _judged(case: Case, reference: Recorded, candidate: Recorded) -> Verdict:
    """Compare all ranks; the verdict is that of the worst."""
    if reference.traces.keys() != candidate.traces.keys():
        counts = f"{len(reference.traces)} and {len(candidate.traces)}"
        reason = f"processes that train: {counts}"
        return Verdict(case=case.name, outcome=Outcome.INCONCLUSIVE, reasons=(reason,))
    found = {name: compare(one, candidate.traces[name], case) for name, one in reference.traces.items()}
    outcome = worst(one.outcome for one in found.values())
    name, verdict = min(((name, one) for name, one in found.items() if one.outcome is outcome), key=_when)
    notes = [f"{len(found)} processes compared"] if len(found) > 1 else []
    notes += [f"this is the verdict of {name[1:]}"] if name else []
    verdict = dataclasses.replace(verdict, process=name)
    notes += [
        f"{who}: {one}"
        for who, side in (("reference", reference), ("candidate", candidate))
        if (one := side.finished.failure)
    ]
    return dataclasses.replace(verdict, notes=(*notes, *verdict.notes))


def _when(named: tuple[str, Verdict]) -> tuple[float, int]:
    """Return what verdicts of one outcome are sorted by: a difference spreads to other ranks with the next step."""
    first = named[1].first
    return (math.inf, 0) if first is None else (first.step, PHASES.index(first.phase))


def _renaming(match: Match) -> dict[str, str]:
    """Return what the candidate calls the tensors of the reference, where that is something else."""
    return {own: name for name, own in match.to_reference.items() if own != name}


def _in_lockstep(runner: Runner) -> Verdict:
    """Run all again, the candidate and a control in the reference's states, and compare what each step does."""
    # It imports torch.
    from migrate.verify.lockstep import closest, drift_of_updates, judge, largest_noise, updates

    case = runner.case
    assert case.tolerance is not None
    reference = runner.record("lockstep_reference", case.reference, states_every=1)
    inject = {"states_every": 1, "inject": str(reference.states)}
    control = runner.record("lockstep_control", case.reference, **inject)
    free = read_trace(runner.folder / "candidate.trace")
    match = match_names(reference.trace, free, case)
    candidate = runner.record("lockstep_candidate", case.candidate, names=_renaming(match), **inject)
    measured = updates(reference.states, candidate.states, match)
    noise = updates(reference.states, control.states)
    floor = largest_noise(noise)
    marked = judge(measured, floor, case.tolerance)
    verdict = compare(reference.trace, candidate.trace, case, judge=marked, free=free)
    notes = (*closest(measured, floor, case.tolerance), *verdict.notes)
    return dataclasses.replace(verdict, mode="lockstep", drift=drift_of_updates(measured, noise), notes=notes)


def _localised(runner: Runner, verdict: Verdict) -> Verdict:
    """Run both again with every module recorded at the first step that differs, and say where it comes from."""
    first = verdict.first
    assert first is not None
    from migrate.verify.lockstep import free_drift, with_errors

    every = _states_every(read_trace(runner.folder / "reference.trace"), verdict.steps, max(first.step, 1))
    window = (max(first.step, 1) - 1, max(first.step, 1) + 1)
    options: Mapping[str, Any] = {"level": "deep", "window": window, "states_every": every}
    try:
        pair = [
            runner.record(f"deep_{name}", side, **options)
            for name, side in (("reference", runner.case.reference), ("candidate", runner.case.candidate))
        ]
    except SideFailed as error:
        found = Localised(f"it could not be replayed: {error}", cause=cause_of(first))
        return dataclasses.replace(verdict, localised=found)
    traces = [one.traces.get(verdict.process, one.trace) for one in pair]
    found = localise(traces[0], traces[1], first, runner.case.names)
    match = match_names(traces[0], traces[1], runner.case)
    folders = pair[0].states, pair[1].states
    drifted = (*free_drift(*folders, match), *verdict.drift)
    divergences = with_errors(verdict.divergences, *folders, match) if not verdict.process else verdict.divergences
    return dataclasses.replace(verdict, localised=found, drift=drifted, divergences=divergences)


def _states_every(trace: Trace, steps: int, first: int) -> int:
    """Return how often to save states: after the first step that differs, if the disk allows as many as that makes."""
    tensors = trace.names[0].parameters if trace.names else []
    # Parameters and two moments, mostly in 32 bits.
    size = 12 * sum(math.prod(one["shape"] or ()) for one in tensors)
    return first if steps // first * size <= _STATES_BYTES else max(1, steps // _STATES)


def describe_folder(folder: Path, verdicts: list[Verdict]) -> None:
    """Leave a note in a folder of traces that says what they are."""
    told = {one.case if one.seed is None else f"{one.case} seed {one.seed}": one.sides for one in verdicts}
    (folder / "runs.json").write_text(json.dumps(told, indent=2), encoding="utf-8")
