"""Two traces and a case to a verdict. Pure: no process is started and no file written; loads without torch."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from typing import Any

from migrate.verify import views
from migrate.verify.cases import Case, Side
from migrate.verify.collector import Collector
from migrate.verify.comparison import Comparison, listed
from migrate.verify.guards import guards_of, lone_names
from migrate.verify.names import Match, Tensor, match, propose
from migrate.verify.reported import reports
from migrate.verify.series import drift
from migrate.verify.stretches import settled
from migrate.verify.structures import changes
from migrate.verify.trace.reader import Trace
from migrate.verify.verdict import Divergence, Verdict, decide
from migrate.verify.views import View

_SHOWN = 6
# Hooks; metrics and functions that save are expected only where somebody asked for them.
_NEEDED = ("forward", "backward", "step", "metric", "save")
_HINTS = {"step": "only optimizers that are `torch.optim.Optimizer` count, outside of compiled functions"}
_WITHOUT = {
    "backward": "gradients without `backward`, so losses are not compared",
    "forward": "no module was called, so inputs and outputs are not compared",
}


def compare(
    reference: Trace,
    candidate: Trace,
    case: Case,
    *,
    today: datetime.date | None = None,
    seed: int | None = None,
    judge: Callable[[Divergence], Divergence] | None = None,
    free: Trace | None = None,
    own: bool = False,
) -> Verdict:
    """Compare two recorded runs.

    Args:
        reference: The run that is right.
        candidate: The run that must have done the same.
        case: How strictly, and what must have happened.
        today: The day that waivers are held against.
        seed: For the report.
        judge: Marks differences that a tolerance of the case covers; without it none are.
        free: The candidate's own run, where states of the reference were put into ``candidate``, its generators too.
        own: Both are runs of the reference; names are for the candidate.
    """
    if own:
        case = case.against_itself()
    collector = Collector(case.waivers, today or datetime.date.today(), judge)
    drawn = View(reference).generators() | View(free or candidate).generators()
    lone = lone_names(reference, case.only_reference), lone_names(candidate, case.only_candidate)
    reference, candidate = settled(reference, lone[0]), settled(candidate, lone[1])
    saved = case.checkpoints.names
    matched = match_names(reference, candidate, case)
    sides = (
        View(reference, Match({}), lone[0], saved, views.saved_parameters(reference, case.names)),
        View(candidate, matched, lone[1], saved if own else {}, views.saved_parameters(candidate, {})),
    )
    reported = reports(reference, candidate, case.metrics)
    comparison = Comparison(*sides, collector, drawn, case.checkpoints, reported)
    comparison.run()
    obstacles = [*_obstacles(reference, candidate, case)]
    guards = guards_of(reference, candidate, case)
    waivers = collector.waiver_uses()
    reason = case.tolerance.reason if case.tolerance and judge else ""
    outcome, reasons = decide(
        obstacles=obstacles, divergences=collector.divergences, guards=guards, waivers=waivers, tolerance=reason
    )
    return Verdict(
        case=case.name,
        seed=seed,
        outcome=outcome,
        reasons=reasons,
        steps=min(len(reference.steps), len(candidate.steps)),
        divergences=tuple(collector.divergences),
        channels=collector.counts(),
        guards=tuple(guards),
        waivers=waivers,
        drift=drift(reference, candidate),
        notes=(
            *comparison.notes,
            *comparison.call_notes(),
            *_silent_notes(reference, candidate, case),
            *_notes_of(reference, candidate),
            *_proposal(reference, candidate, comparison.candidate.match),
            *(f"metrics: {problem}" for problem in reported[1].names.problems),
        ),
    )


def match_names(reference: Trace, candidate: Trace, case: Case) -> Match:
    """Match the names of all tensors of two runs, by the map of the case."""
    if not (reference.names and candidate.names):
        return Match({})
    one = _all_names(reference, lone_names(reference, case.only_reference))
    other = _all_names(candidate, lone_names(candidate, case.only_candidate))
    return match(one, other, case.names)


def _all_names(trace: Trace, lone: frozenset[str]) -> list[str]:
    found = dict[str, None]()
    for names in trace.names:
        for tensors in (names.parameters, names.buffers, names.frozen):
            found |= dict.fromkeys(tensor["name"] for tensor in tensors if tensor["name"] not in lone)
    return list(found)


def _proposal(reference: Trace, candidate: Trace, found: Match) -> Iterator[str]:
    """Yield what is wrong with the names, and a map that would mend it."""
    yield from found.problems
    if found.problems and reference.names and candidate.names:
        tensors = ([_tensor(one) for one in listed(trace.names[0])] for trace in (reference, candidate))
        lines = [f"  {name}: {other}" for name, other in propose(*tensors).items()]
        if lines:
            more = [f"  # and {len(lines) - 50} more"] if len(lines) > 50 else []
            yield "\n".join(["a map to start from, by content before the first step:", "names:", *lines[:50], *more])


def _tensor(one: dict[str, Any]) -> Tensor:
    return Tensor(one["name"], views.form(one), one["digest"])


def _silent(trace: Trace, side: Side) -> tuple[list[str], list[str]]:
    """Return the hooks that never fired: those without which a trace says nothing, and others."""
    footer = trace.footer or {"never_fired": [], "fired": {}}
    silent, fired = footer["never_fired"], footer["fired"]
    # Gradients can come from `autograd.grad`, and losses from tensors that are in no module.
    instead = {"backward": fired.get("grad"), "forward": fired.get("backward") or fired.get("grad")}
    needed = {hook for hook in _NEEDED if not instead.get(hook)} | set(side.expect)
    return [hook for hook in silent if hook in needed], [hook for hook in silent if hook not in needed]


def _silent_notes(reference: Trace, candidate: Trace, case: Case) -> Iterator[str]:
    for name, trace, side in (("reference", reference, case.reference), ("candidate", candidate, case.candidate)):
        silent = _silent(trace, side)[1]
        yield from (f"{name}: {_WITHOUT[hook]}" for hook in silent if hook in _WITHOUT)
        if others := [hook for hook in silent if hook not in _WITHOUT]:
            yield f"{name}: made and never used: {', '.join(others)}"


def _notes_of(reference: Trace, candidate: Trace) -> Iterator[str]:
    """Yield what the tracer has noted of either side."""
    for name, trace in (("reference", reference), ("candidate", candidate)):
        yield from (f"{name}: {note}" for note in (trace.footer or {}).get("notes", ()))


def _obstacles(reference: Trace, candidate: Trace, case: Case) -> Iterator[str]:
    """Yield why nothing can be concluded from two traces, whatever is in them."""
    for name, trace, side in (("reference", reference, case.reference), ("candidate", candidate, case.candidate)):
        if trace.problem:
            yield f"{name}: {trace.problem}"
        if silent := _silent(trace, side)[0]:
            hints = "".join(f" ({_HINTS[hook]})" for hook in silent if hook in _HINTS)
            yield f"{name}: expected and never seen: {', '.join(silent)}{hints}"
        named = (trace.footer or {}).get("not_found") or {}
        yield from (f"{name}: {function} is not recorded: {why}" for function, why in named.items())
    for key in ("level", "window", "stop_after", "world_size"):
        pair = [trace.header.get(key) for trace in (reference, candidate)]
        if pair[0] != pair[1]:
            yield f"the traces have another {key}: {pair[0]} and {pair[1]}"
    found = changes(*({**trace.header["fingerprint"], **_at_the_end(trace)} for trace in (reference, candidate)))
    yield from (f"the environments differ: {one}" for one in found[:_SHOWN])
    if len(found) > _SHOWN:
        yield f"the environments differ in {len(found) - _SHOWN} more values"


def _at_the_end(trace: Trace) -> dict[str, Any]:
    """Return the switches of torch that were others at the end than at the beginning."""
    start, end = trace.header["fingerprint"], (trace.footer or {}).get("switches", {})
    return {f"{key} at the end": value for key, value in end.items() if start.get(key) != value}
