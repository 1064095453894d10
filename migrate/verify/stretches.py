"""What of a recorded run belongs to evaluations and what to steps, where the tracer could see modes only. Pure."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from migrate.verify.trace.reader import Evaluation, Events, Names, Rest, Step, Trace

_EVENTS = tuple(field.name for field in dataclasses.fields(Events))


def settled(trace: Trace, lone: frozenset[str] = frozenset()) -> Trace:
    """Return a trace in which calls of models are where they belong.

    Calls of a module of which everything is lone are left out.

    A model that is not put back into training mode seems to be evaluated until its backward pass: what it is called
    with gradients for, after calls without, is of the step that follows; all of it, where all calls are with gradients.
    And a model that no optimizer has, such as an average of weights, seems to take part in a step where it is
    evaluated before it. What is called without gradients after the last step is an evaluation, too.

    Args:
        trace: The run.
        lone: Names of tensors that only this side has, by the case.
    """
    if lone:
        trace = _without(trace, lone)
    parts: list[Step | Rest] = [*trace.steps, *([trace.rest] if trace.rest else [])]
    evaluations = []
    for evaluation in trace.evaluations:
        at = _place(trace, evaluation.after_step)
        part = parts[at] if at < len(parts) else None
        kept, moved = _parted(evaluation)
        if not isinstance(part, Step) or not moved:
            evaluations.append(evaluation)
            continue
        parts[at] = dataclasses.replace(part, **_joined(part, moved))
        evaluations += [kept] if kept else []
    asides, usual = _asides(trace, parts), _usual(trace, parts)
    for at, part in enumerate(parts):
        last = isinstance(part, Rest)
        apart = [
            call["entry"] in asides or (last and not call["grad"] and call["entry"] not in usual)
            for call in part.forwards
        ]
        if any(apart):
            calls = [
                [call for call, own in zip(part.forwards, apart, strict=True) if own is way] for way in (True, False)
            ]
            evaluations.append(Evaluation(number=-1, after_step=at - _place(trace, 0), forwards=calls[0]))
            parts[at] = dataclasses.replace(part, forwards=calls[1])
    evaluations.sort(key=lambda one: one.after_step)
    steps, rests = [one for one in parts if isinstance(one, Step)], [one for one in parts if isinstance(one, Rest)]
    return dataclasses.replace(trace, steps=steps, rest=rests[0] if rests else None, evaluations=evaluations)


def may_train(evaluation: Evaluation) -> bool:
    """Tell whether all calls in evaluation mode had gradients, so that they may be of the step that follows."""
    return bool(evaluation.forwards) and all(call["grad"] for call in evaluation.forwards) and not evaluation.metrics


def with_calls_before(step: Step, calls: Sequence[dict[str, Any]]) -> Step:
    """Return a step with calls of models before its own."""
    return dataclasses.replace(step, forwards=[*calls, *step.forwards]) if calls else step


def _without(trace: Trace, lone: frozenset[str]) -> Trace:
    """Return a trace without calls of modules that only this side has."""
    entries = {at for names in trace.names for at in _lone_entries(names, lone)}
    events = {f"forward:{at}" for at in entries}

    def kept(part: Any) -> Any:
        calls = [call for call in part.forwards if call["entry"] not in entries]
        return dataclasses.replace(part, forwards=calls, phases=[one for one in part.phases if one not in events])

    if not entries:
        return trace
    steps, evaluations = [kept(step) for step in trace.steps], [kept(one) for one in trace.evaluations]
    return dataclasses.replace(trace, steps=steps, evaluations=evaluations, rest=trace.rest and kept(trace.rest))


def _lone_entries(names: Names, lone: frozenset[str]) -> Iterator[int]:
    tensors = [one["name"] for one in (*names.parameters, *names.buffers, *names.frozen)]
    for at, entry in enumerate(names.entries):
        own = [name for name in tensors if entry["path"] and name.startswith(f"{entry['path']}.")]
        if own and lone.issuperset(own):
            yield at


def _place(trace: Trace, after_step: int) -> int:
    return after_step - (trace.steps[0].number if trace.steps else 0)


def _joined(part: Step, moved: Mapping[str, list[Any]]) -> dict[str, Any]:
    return {name: [*found, *getattr(part, name)] for name, found in moved.items()}


def _parted(evaluation: Evaluation) -> tuple[Evaluation | None, dict[str, list[Any]]]:
    """Return what of an evaluation is one, and what is of the step that follows."""
    if may_train(evaluation):
        if evaluation.ended not in ("backward", "step"):
            return evaluation, {}
        return None, {name: found for name in _EVENTS if (found := getattr(evaluation, name))}
    quiet = [at for at, call in enumerate(evaluation.forwards, 1) if not call["grad"]]
    if not quiet or quiet[-1] == len(evaluation.forwards):
        return evaluation, {}
    seen = Counter[str]()
    for event in evaluation.phases:
        if seen["forward"] == quiet[-1]:
            break
        seen[event.partition(":")[0]] += 1
    ends = {"phases": seen.total(), "forwards": seen["forward"], "batches": seen["batch"]}
    kept: dict[str, Any] = {name: getattr(evaluation, name)[:end] for name, end in ends.items()}
    # Generators were looked at after all of it.
    return (
        dataclasses.replace(evaluation, **kept, rng={}),
        {name: getattr(evaluation, name)[end:] for name, end in ends.items()},
    )


def _usual(trace: Trace, parts: Sequence[Step | Rest]) -> set[int]:
    """Return the entries that are called without gradients around most steps of an optimizer: the last one ends so."""
    steps = Counter(step.optimizer for step in trace.steps)
    counts = Counter(
        (entry, part.optimizer)
        for part in parts
        if isinstance(part, Step)
        for entry in {call["entry"] for call in part.forwards if not call["grad"]}
    )
    return {entry for (entry, optimizer), count in counts.items() if 2 * count > steps[optimizer]}


def _asides(trace: Trace, parts: Sequence[Step | Rest]) -> set[int]:
    """Return the entries that are called for few steps of each optimizer, in models never called with gradients."""
    steps = Counter(step.optimizer for step in trace.steps)
    called: dict[int, Counter[int]] = {}
    trained = set[int]()
    for part in parts:
        trained |= {call["entry"] for call in part.forwards if call["grad"]}
        for entry in {call["entry"] for call in part.forwards}:
            called.setdefault(entry, Counter()).update([part.optimizer] if isinstance(part, Step) else [])
    root_of = [entry["root"] for names in trace.names[-1:] for entry in names.entries]
    roots = {root_of[entry] for entry in trained if entry < len(root_of)}
    return {
        entry
        for entry, counts in called.items()
        if entry < len(root_of)
        and root_of[entry] not in roots
        and all(2 * count <= steps[optimizer] for optimizer, count in counts.items())
    }
