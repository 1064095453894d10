"""Finds where two long runs part from the checkpoints that they left: only the steps between two of them are traced.

A difference is taken to persist: where two checkpoints hold the same, all before them are taken to. Both ends are
looked at first, so that there is a first one that differs.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bem_core.errors import BemError, CheckpointError
from migrate.verify import views
from migrate.verify.cases import Case
from migrate.verify.checkpoint_pairs import NAMES, Search, Sides, search_checkpoints, shared
from migrate.verify.checkpoints import CheckpointReport, compare_checkpoints
from migrate.verify.replay import Own, localised
from migrate.verify.run import judged
from migrate.verify.runner import Recorded, Runner, SideFailed
from migrate.verify.saved import Saved, saved_by
from migrate.verify.series import shifted as shifted_series
from migrate.verify.trace.recording.recorder import ALWAYS_EXPECTED
from migrate.verify.verdict import Divergence, Guard, Outcome, Verdict, decide
from migrate.verify.waivers import Waiver

_SHOWN = 2
_ASSUMED = "a difference is taken to persist: what lies between checkpoints that were compared was not read"


def bisect_case(case: Case, seed: int, folder: Path, outs: Sequence[Path | None] = (None, None)) -> Verdict:
    """Find the first step at which the two sides of a case differ, by their checkpoints.

    Args:
        case: Its sides have ``checkpoints``, and ``resume`` where they can go on from one.
        seed: Fills ``{seed}``.
        folder: For what is run, and its traces.
        outs: Folders that runs of the reference and of the candidate have left; a side without one is run, untraced.

    Raises:
        BemError: The case cannot be searched so, or the runs have no checkpoint of the same step.
        CheckpointError: One cannot be read.
    """
    _check(case)
    runner = Runner(case, seed, folder / f"seed{seed}")
    runner.folder.mkdir(parents=True, exist_ok=True)
    try:
        runner.prepare()
        verdict = _bisected(runner, [_out(runner, name, out) for name, out in zip(NAMES, outs, strict=True)])
    except SideFailed as error:
        verdict = Verdict(case=case.name, outcome=Outcome.INCONCLUSIVE, reasons=(str(error),), notes=error.notes)
    return dataclasses.replace(verdict, seed=seed, sides=runner.sides)


def _check(case: Case) -> None:
    for key in ("tolerance", "equivalence"):
        if getattr(case, key) is not None:
            raise BemError(f"{case.name}: it has a {key}; checkpoints are searched for the first bit that differs")
    for name in NAMES:
        if getattr(case, name).checkpoints is None:
            raise BemError(
                f"{case.name}: {name}.checkpoints: missing; expected a pattern for the checkpoints below {{out}}"
            )


def _out(runner: Runner, name: str, out: Path | None) -> Path:
    return runner.run_untraced(name, getattr(runner.case, name)) if out is None else out.resolve()


def _bisected(runner: Runner, outs: Sequence[Path]) -> Verdict:
    case = runner.case
    saved = [saved_by(getattr(case, name), out) for name, out in zip(NAMES, outs, strict=True)]
    sides = shared(case, saved, outs)
    search = search_checkpoints(
        sides.steps,
        lambda step: compare_checkpoints(
            sides.reference[step], sides.candidate[step], case.checkpoints.names, case.checkpoints.only
        ),
    )
    notes = (*_told(search, sides), _ASSUMED)
    if search.first_different is None:
        return _the_same(case, sides, search, notes)
    verdict = _Interval(runner, sides, saved, search).verdict()
    return dataclasses.replace(verdict, notes=(*notes, *verdict.notes))


def _told(search: Search, sides: Sides) -> list[str]:
    found = ", ".join(f"{step} {'equal' if one.same else 'different'}" for step, one in search.reports.items())
    return [f"of {len(sides.steps)} pairs of checkpoints {len(search.reports)} were compared: {found}"]


def _the_same(case: Case, sides: Sides, search: Search, notes: Sequence[str]) -> Verdict:
    """Return what follows where the last pair holds the same: nothing differs, if the pair says anything."""
    last = search.last_equal
    assert last is not None
    guards = [_tensors_guard(search.reports[last])]
    if len(sides.steps) > 1:
        ends = sides.reference[sides.steps[0]], sides.reference[last]
        trained = compare_checkpoints(*ends, case.checkpoints.names, case.checkpoints.only, own=True)
        detail = f"{len(trained.tensors)} of {trained.num_tensors} tensors of the reference changed from step"
        guards.append(Guard("changed", bool(trained.tensors), f"{detail} {sides.steps[0]} to step {last}"))
    outcome, reasons = decide(obstacles=(), divergences=(), guards=guards, waivers=())
    told = f"the checkpoints of step {last} hold the same; what came after it was not compared"
    return Verdict(case=case.name, outcome=outcome, reasons=reasons, guards=tuple(guards), notes=(told, *notes))


def _tensors_guard(report: CheckpointReport) -> Guard:
    detail = f"{report.num_tensors} tensors are in both; `checkpoints` of the case says which are compared"
    return Guard("tensors", report.num_tensors > 0, detail)


@dataclass(slots=True)
class _Interval:
    """The steps from the last pair that holds the same, or from the start, to the first that does not.

    Attributes:
        runner: Runs the sides.
        sides: Checkpoints of both.
        saved: All checkpoints of each.
        search: What was found.
        before: Steps that were done before the first one that is traced.
        notes: What a reader should know.
    """

    runner: Runner
    sides: Sides
    saved: Sequence[Sequence[Saved]]
    search: Search
    before: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def end(self) -> int:
        """Return the step of the first pair that differs."""
        assert self.search.first_different is not None
        return self.search.first_different

    def verdict(self) -> Verdict:
        """Trace both sides over these steps, and replay the first one that differs.

        Raises:
            SideFailed: One cannot be run.
        """
        case = self.runner.case
        pair = self._resumed() or self._from_start()
        problems = [problem for problem in map(self._departs, NAMES, pair) if problem]
        if problems:
            return self._inconclusive(problems)
        first = self.search.last_equal or 0
        found = judged(_of_steps(case, first), *pair)
        if found.first is not None and self._differs_by_resuming(found, pair):
            first += 1
            where = f"{found.first.phase}, {found.first.channel} {found.first.key}".rstrip()
            self.notes.append(
                f"in step {first} the sides differ in what they read on the way from a checkpoint ({where}), without "
                f"effect; the steps after it were compared"
            )
            found = judged(_of_steps(case, first), _without_first(pair[0]), _without_first(pair[1]))
        if found.outcome is Outcome.INCONCLUSIVE:
            return dataclasses.replace(found, notes=(*self.notes, *found.notes))
        found = _shifted(found, first)
        if found.first is None:
            return self._only_saved(found)
        differences = _differences(self.search.reports[self.end])
        told = f"of the checkpoints, those of step {self.end} are the first that differ: {differences}"
        found = dataclasses.replace(
            found,
            outcome=Outcome.DIFFERENT,
            reasons=(f"first difference: {found.first}", told),
            noise="comes to its own checkpoint again",
            guards=(),
            notes=(*self.notes, *found.notes),
        )
        owns = [
            # However quick these steps were: nobody knows how many follow.
            Own(name, getattr(case, name), run.trace_of(found.process), saved, math.inf, self.before)
            for name, run, saved in zip(NAMES, pair, self.saved, strict=True)
        ]
        return localised(self.runner, found, owns)

    def _resumed(self) -> tuple[Recorded, Recorded] | None:
        """Run both sides from the last pair that holds the same; None where one does not come to its own next one."""
        start = self.search.last_equal
        if start is None:
            self.notes.append("the first pair of checkpoints differs already, so both sides were run from the start")
            return None
        lacking = [name for name in NAMES if not getattr(self.runner.case, name).resume]
        if lacking:
            who = " and the ".join(lacking)
            self.notes.append(f"the case has no 'resume' for the {who}, so both sides were run from the start")
            return None
        self.before = start
        found = []
        for name in NAMES:
            path = getattr(self.sides, name)[start]
            try:
                found.append(self._record(name, path))
                problem = self._departs(name, found[-1])
            except SideFailed as error:
                problem = str(error)
            if problem:
                self.notes.append(
                    f"{problem}, resumed from {path.name}: its resume does not go on as its own run did, which says "
                    f"nothing about the other side; both were run from the start"
                )
                self.before = 0
                return None
        self.notes.append(f"steps {start + 1} to {self.end} were traced, by both sides resumed from step {start}")
        return found[0], found[1]

    def _from_start(self) -> tuple[Recorded, Recorded]:
        first, second = (self._record(name, None) for name in NAMES)
        return first, second

    def _record(self, name: str, path: Path | None) -> Recorded:
        """Trace the steps; one step more, so that the checkpoint after the last of them is written."""
        count = self.end + 1 - self.before
        start = (self.search.last_equal or 0) - self.before
        level = "full" if self.runner.case.level == "light" else self.runner.case.level
        window = {"window": (start, count)} if start else {}
        side = getattr(self.runner.case, name)
        run = self.runner.record(f"interval_{name}", side, path, level=level, stop_after=count, **window)
        for trace in run.traces.values():
            if trace.footer is not None:
                # A few steps need not have an evaluation, or whatever else a whole run must have.
                silent = trace.footer["never_fired"]
                trace.footer["never_fired"] = [hook for hook in silent if hook in ALWAYS_EXPECTED]
        return run

    def _departs(self, name: str, run: Recorded) -> str:
        """Return why a run is not the one that left the checkpoints; empty if it came to its own next one."""
        if run.finished.failure or run.trace.problem:
            return f"{name}: {run.finished.failure or run.trace.problem}"
        case = self.runner.case
        own = getattr(self.sides, name)[self.end]
        again = {one.step: one.path for one in saved_by(getattr(case, name), run.out)}.get(self.end)
        if again is None:
            steps = len(run.trace.steps)
            return f"{name}: in {steps} steps it wrote no checkpoint of step {self.end} again; see checkpoint_steps"
        try:
            report = compare_checkpoints(own, again, case.checkpoints.names, case.checkpoints.only, own=True)
        except CheckpointError as error:
            return f"{name}: {error}"
        if report.tensors or not report.num_tensors:
            return f"{name}: its {own.name} is not the one that its own run wrote ({_differences(report)})"
        return ""

    def _differs_by_resuming(self, found: Verdict, pair: Sequence[Recorded]) -> bool:
        """Tell whether the first step after a checkpoint differs only in what was read on the way there."""
        first = found.first
        if not self.before or first is None or first.step != 1 or first.phase not in ("data", "evaluation"):
            return False
        one, other = (run.trace_of(found.process).steps[0] for run in pair)
        roots = [(step.roots.get("parameters"), step.roots.get("state")) for step in (one, other)]
        losses = [views.effective_losses(step, step.optimizer) for step in (one, other)]
        return roots[0] == roots[1] and losses[0] == losses[1]

    def _inconclusive(self, problems: Sequence[str]) -> Verdict:
        told = f"the checkpoints of step {self.end} differ: {_differences(self.search.reports[self.end])}"
        reasons = (*problems, "a run that cannot be repeated cannot be searched", told)
        return Verdict(
            case=self.runner.case.name, outcome=Outcome.INCONCLUSIVE, reasons=reasons, notes=tuple(self.notes)
        )

    def _only_saved(self, found: Verdict) -> Verdict:
        """Return what follows where the checkpoints differ and nothing that was traced does."""
        where = f"steps {(self.search.last_equal or 0) + 1} to {self.end}"
        if found.divergences:
            reasons = (
                f"what differs in {where} is waived, and checkpoints do not tell what differs later",
                *found.reasons,
            )
            return dataclasses.replace(found, outcome=Outcome.INCONCLUSIVE, reasons=reasons)
        report = self.search.reports[self.end]
        divergences = tuple(
            [_divergence(self.end, one.key, str(one.distance), one.distance.relative) for one in report.tensors]
            + [Divergence(self.end, "checkpoint", "checkpoint", one.key, one.old, one.new) for one in report.structure]
        )
        reasons = (
            f"first difference: {divergences[0]}",
            f"all that was traced of {where} is the same: what differs is only saved, or made outside of steps",
        )
        return dataclasses.replace(
            found,
            outcome=Outcome.DIFFERENT,
            reasons=reasons,
            divergences=divergences,
            noise="comes to its own checkpoint again",
            guards=(),
            notes=(*self.notes, *found.notes),
        )


def _of_steps(case: Case, before: int) -> Case:
    """Return a case for a few steps: what it asks of a whole run is not asked of them."""
    waivers = [_moved(one, before) for one in case.waivers]
    return dataclasses.replace(case, waivers=waivers, steps=1, changed_share=0.0, features=[])


def _without_first(run: Recorded) -> Recorded:
    """Return a run without its first step and what came before that."""
    traces = {}
    for name, trace in run.traces.items():
        steps = trace.steps[1:]
        begin = steps[0].number if steps else 0
        evaluations = [one for one in trace.evaluations if one.after_step >= begin]
        saves = [one for one in trace.checkpoints if one.after_step >= begin]
        traces[name] = dataclasses.replace(trace, steps=steps, evaluations=evaluations, checkpoints=saves)
    return dataclasses.replace(run, traces=traces)


def _divergence(step: int, key: str, told: str, error: float) -> Divergence:
    return Divergence(step, "checkpoint", "checkpoint", key, "tensor", told, error)


def _differences(report: CheckpointReport) -> str:
    """Return the first differences of two checkpoints, tensors first."""
    found = [f"{one.key}: {one.distance}" for one in report.tensors] + [str(one) for one in report.structure]
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return "; ".join(found[:_SHOWN]) + more


def _moved(waiver: Waiver, by: int) -> Waiver:
    """Return a waiver whose steps are counted from a later one; a last step before that covers nothing."""
    last = None if waiver.last_step is None else waiver.last_step - by
    return dataclasses.replace(waiver, first_step=max(0, waiver.first_step - by), last_step=last)


def _shifted(verdict: Verdict, by: int) -> Verdict:
    """Return a verdict whose steps are counted over the whole run."""
    channels = [
        one if one.first_step is None else dataclasses.replace(one, first_step=one.first_step + by)
        for one in verdict.channels
    ]
    return dataclasses.replace(
        verdict,
        divergences=tuple(dataclasses.replace(one, step=one.step + by) for one in verdict.divergences),
        channels=tuple(channels),
        drift=tuple(shifted_series(one, by) for one in verdict.drift),
    )
