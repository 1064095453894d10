"""Runs the two sides of a case, each in fresh processes, and gives verdicts."""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from migrate.verify.cases import Case
from migrate.verify.compare import compare, match_names
from migrate.verify.names import Match
from migrate.verify.phases import PHASES
from migrate.verify.runner import Recorded, Runner, SideFailed
from migrate.verify.saved import saved_by
from migrate.verify.series import drift
from migrate.verify.verdict import Outcome, Verdict, worst
from migrate.verify.waivers import Waiver

# No step depends on what is saved and told; a path or a time in it is no noise of the training.
_OF_WHAT_IS_TOLD = tuple(
    Waiver(
        id=f"the reference's own {channel}",
        reason="two runs of the reference differ there, and in nothing that they train",
        channel=channel,
        expires=datetime.date.max,
    )
    for channel in ("metrics", "checkpoint")
)


def run_case(case: Case, folder: Path, ran: Mapping[int, Path] | None = None) -> Iterator[Verdict]:
    """Run a case for each of its seeds and yield a verdict for each, or one for all if metrics are compared.

    Args:
        case: What is compared.
        folder: For traces and what the sides write; one folder a seed is made in it.
        ran: Where the case that this one goes on from has run, by seed; for others its reference runs first.
    """
    if case.equivalence is not None:
        # It imports scipy.
        from migrate.verify.metrics import compare_over_seeds

        yield compare_over_seeds(case, folder)
        return
    for seed in case.seeds:
        runner = Runner(case, seed, _folder(folder, seed), (ran or {}).get(seed))
        runner.folder.mkdir(parents=True, exist_ok=True)
        try:
            runner.prepare()
            verdict = _run_pair(runner)
        except SideFailed as error:
            verdict = Verdict(case=case.name, outcome=Outcome.INCONCLUSIVE, reasons=(str(error),), notes=error.notes)
        yield dataclasses.replace(verdict, seed=seed, sides=runner.sides)


def where_ran(folder: Path, verdicts: Sequence[Verdict]) -> dict[int, Path]:
    """Return the folders, by seed, in which the reference of a case ran to its end.

    Args:
        folder: Of the case.
        verdicts: Of the case.
    """
    ended = {one.seed for one in verdicts if one.sides.get("reference", {}).get("exit_code") == 0}
    return {seed: _folder(folder, seed) for seed in ended if seed is not None}


def _folder(folder: Path, seed: int) -> Path:
    return folder / f"seed{seed}"


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
    quiet = _is_quiet(noise)
    told = "agrees with itself" if quiet else f"does not agree with itself: {noise.first or noise.reasons[0]}"
    if case.tolerance is not None:
        return dataclasses.replace(_in_lockstep(runner, candidate), noise=told)
    series = drift(reference.trace, candidate.trace, None if quiet else control.trace)
    if not quiet:
        apart = dataclasses.replace(case, waivers=[*case.waivers, *_OF_WHAT_IS_TOLD])
        only_told = _is_quiet(judged(apart, reference, control, own=True))
        trained = judged(apart, reference, candidate) if only_told else None
        if trained is None or trained.outcome is not Outcome.DIFFERENT:
            needs = "a case with noise needs a tolerance and its reason"
            if only_told:
                needs = "what it trains is the same, so a waiver of these keys with its reason is enough"
            reasons = (f"the reference {told}; {needs}", *verdict.reasons)
            return dataclasses.replace(verdict, outcome=Outcome.INCONCLUSIVE, reasons=reasons, noise=told, drift=series)
        verdict = trained
    verdict = dataclasses.replace(verdict, noise=told, drift=series)
    # It imports torch.
    from migrate.verify.replay import Own, localised

    owns = [
        Own(name, side, run.trace_of(verdict.process), saved_by(side, run.out, run.trace), run.finished.seconds)
        for name, side, run in (("reference", case.reference, reference), ("candidate", case.candidate, candidate))
    ]
    return localised(runner, verdict, owns)


def _is_quiet(noise: Verdict) -> bool:
    """Tell whether two runs of the reference agree, on all ranks; what is waived is no noise."""
    return noise.first is None and noise.outcome is not Outcome.INCONCLUSIVE


def judged(case: Case, reference: Recorded, candidate: Recorded, own: bool = False) -> Verdict:
    """Compare all ranks; the verdict is that of the worst.

    Args:
        case: How strictly.
        reference: The run that is right.
        candidate: The other.
        own: Both are of the reference.
    """
    return _worst_of_all(
        case, reference, candidate, lambda name: compare(reference.traces[name], candidate.traces[name], case, own=own)
    )


def _worst_of_all(case: Case, reference: Recorded, candidate: Recorded, compared: Callable[[str], Verdict]) -> Verdict:
    """Return the worst of the verdicts of each process, by what is added to the name of its trace."""
    if reference.traces.keys() != candidate.traces.keys():
        counts = f"{len(reference.traces)} and {len(candidate.traces)}"
        reason = f"processes that train: {counts}"
        return Verdict(case=case.name, outcome=Outcome.INCONCLUSIVE, reasons=(reason,))
    found = {name: compared(name) for name in reference.traces}
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


def _in_lockstep(runner: Runner, free: Recorded) -> Verdict:
    """Run all again, the candidate and a control in the reference's states, and compare what each step does.

    Args:
        runner: Runs the sides.
        free: The candidate's run in states of its own.
    """
    # It imports torch.
    from migrate.verify.lockstep import closest, drift_of_updates, judge, largest_noise, updates

    case, tolerance = runner.case, runner.case.tolerance
    assert tolerance is not None
    reference = runner.record("lockstep_reference", case.reference, states_every=1)
    inject: dict[str, Any] = {"states_every": 1, "inject": str(reference.states)}
    control = runner.record("lockstep_control", case.reference, **inject)
    match = match_names(reference.trace, free.trace, case)
    candidate = runner.record("lockstep_candidate", case.candidate, names=_renaming(match), **inject)

    def compared(process: str) -> Verdict:
        measured = updates(reference.states_of(process), candidate.states_of(process), match)
        noise = updates(reference.states_of(process), control.states_of(process))
        floor = largest_noise(noise)
        one, other = reference.traces[process], candidate.traces[process]
        found = compare(
            one, other, case, judge=judge(measured, floor, tolerance), free=free.traces.get(process, free.trace)
        )
        notes = (*closest(measured, floor, tolerance), *found.notes)
        return dataclasses.replace(found, mode="lockstep", drift=drift_of_updates(measured, noise), notes=notes)

    return _worst_of_all(case, reference, candidate, compared)


def describe_folder(folder: Path, verdicts: list[Verdict]) -> None:
    """Leave a note in a folder of traces that says what they are."""
    told = {one.case if one.seed is None else f"{one.case} seed {one.seed}": one.sides for one in verdicts}
    (folder / "runs.json").write_text(json.dumps(told, indent=2), encoding="utf-8")
