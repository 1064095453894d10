"""Runs the two sides of a case, each in fresh processes, and gives verdicts."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from migrate.verify.cases import Case
from migrate.verify.compare import compare, match_names
from migrate.verify.names import Match
from migrate.verify.phases import PHASES
from migrate.verify.runner import Recorded, Runner, SideFailed
from migrate.verify.saved import saved_by
from migrate.verify.series import drift
from migrate.verify.trace.reader import read_trace
from migrate.verify.verdict import Outcome, Verdict, worst


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
        return judged(case, reference, reference)
    candidate = runner.record("candidate", case.candidate)
    verdict = judged(case, reference, candidate)
    if verdict.outcome is not Outcome.DIFFERENT:
        return verdict
    control = runner.record("control", case.reference)
    noise = judged(case, reference, control, own=True)
    quiet = noise.first is None and noise.outcome is not Outcome.INCONCLUSIVE
    told = "agrees with itself" if quiet else f"does not agree with itself: {noise.first or noise.reasons[0]}"
    if case.tolerance is not None:
        return dataclasses.replace(_in_lockstep(runner), noise=told)
    series = drift(reference.trace, candidate.trace, None if quiet else control.trace)
    verdict = dataclasses.replace(verdict, noise=told, drift=series)
    if not quiet:
        reason = f"the reference {told}; a case with noise needs a tolerance and its reason"
        return dataclasses.replace(verdict, outcome=Outcome.INCONCLUSIVE, reasons=(reason, *verdict.reasons))
    # It imports torch.
    from migrate.verify.replay import Own, localised

    owns = [
        Own(name, side, run.trace_of(verdict.process), saved_by(side, run.out, run.trace), run.finished.seconds)
        for name, side, run in (("reference", case.reference, reference), ("candidate", case.candidate, candidate))
    ]
    return localised(runner, verdict, owns)


def judged(case: Case, reference: Recorded, candidate: Recorded, own: bool = False) -> Verdict:
    """Compare all ranks; the verdict is that of the worst.

    Args:
        case: How strictly.
        reference: The run that is right.
        candidate: The other.
        own: Both are of the reference.
    """
    if reference.traces.keys() != candidate.traces.keys():
        counts = f"{len(reference.traces)} and {len(candidate.traces)}"
        reason = f"processes that train: {counts}"
        return Verdict(case=case.name, outcome=Outcome.INCONCLUSIVE, reasons=(reason,))
    found = {name: compare(one, candidate.traces[name], case, own=own) for name, one in reference.traces.items()}
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
    inject: dict[str, Any] = {"states_every": 1, "inject": str(reference.states)}
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


def describe_folder(folder: Path, verdicts: list[Verdict]) -> None:
    """Leave a note in a folder of traces that says what they are."""
    told = {one.case if one.seed is None else f"{one.case} seed {one.seed}": one.sides for one in verdicts}
    (folder / "runs.json").write_text(json.dumps(told, indent=2), encoding="utf-8")
