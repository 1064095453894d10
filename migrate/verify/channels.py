"""What of a step, an evaluation or a checkpoint is compared with what, channel by channel. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from migrate.verify import clips, views
from migrate.verify.collector import Collector, numbered
from migrate.verify.phases import EVENT_PHASES
from migrate.verify.trace.reader import TENSOR_KINDS, Checkpoint, Evaluation, Events, Step, Trace
from migrate.verify.views import View

Values = Mapping[str, Any]
Sides = tuple[tuple[View, Step], tuple[View, Step]]


def compare_step(collector: Collector, where: int, sides: Sides, drawn: set[str]) -> bool:
    """Compare two steps but for calls of modules, modes and data, which need to know more than these steps.

    Args:
        collector: Gets all pairs.
        where: Number of the step, from 1.
        sides: Reference and candidate, each with its step.
        drawn: Generators that either side draws from.

    Returns:
        Whether calls of modules in the two steps can be compared.
    """
    one, other = (step for _, step in sides)
    optimizers = [{"optimizer": view.optimizer(step)} for view, step in sides]
    collector.compare(where, "turn", optimizers)
    windows = [{"windows before the step": count} for count in _windows_thrown_away(one, other)]
    collector.compare(where, "turn", windows)
    if optimizers[0] != optimizers[1] or windows[0] != windows[1]:
        return True  # Steps that do not belong together have nothing else in common.
    alike = _compare_hyper(collector, where, sides)
    if not alike and one.closures and other.closures:
        return False  # They decide where models are called within the step.
    # Where only one side begins an epoch, that is why it draws.
    epochs = [views.epochs(step) for _, step in sides]
    phase = "data" if epochs[0] != epochs[1] else _phase_before_draws(one, other, drawn)
    collector.compare(where, "rng", _generators([one.rng, other.rng], drawn), phase)
    _compare_losses(collector, where, one, other)
    _compare_components(collector, where, one, other)
    clips.compare_clips(collector, where, one, other)
    collector.compare(where, "scaler", [numbered(step.scaler) for _, step in sides])
    after_clip = clips.only_clip_differs(one, other)
    for kind in TENSOR_KINDS:
        phase = "clip" if after_clip and kind == "gradients" else None
        collector.compare(where, kind, _tensors(sides, kind), phase)
    _compare_order(collector, where, sides)
    return True


def _shared(one: Values, other: Values) -> list[Values]:
    """Leave out what only one side has, where how many there are is no matter of numbers."""
    return [{key: one[key] for key in one if key in other}, {key: other[key] for key in other if key in one}]


def _generators(rngs: Sequence[Mapping[str, Mapping[str, Any]]], drawn: set[str]) -> list[dict[str, Any]]:
    """Return the state of each generator that both sides have, and how much was drawn where that was counted.

    Args:
        rngs: Of the reference and of the candidate.
        drawn: Generators that either side draws from: programs need not seed others.
    """
    names = [name for name in rngs[0] if name in rngs[1] and name in drawn]
    # Where states are the same, counts tell only where records end.
    apart = [name for name in names if rngs[0][name]["digest"] != rngs[1][name]["digest"]]
    counted = [name for name in apart if all(rng[name].get("draws") is not None for rng in rngs)]
    return [
        {name: rng[name]["digest"] for name in names} | {f"{name} draws": rng[name]["draws"] for name in counted}
        for rng in rngs
    ]


def _phase_before_draws(one: Step, other: Step, drawn: set[str]) -> str | None:
    """Return the phase of what differs while generators are the same yet, and makes models draw another number."""
    calls = [sum(call["grad"] for call in step.forwards) for step in (one, other)]
    passes = [len(step.losses) for step in (one, other)]
    # Where a pass calls models as often on both sides, call by call; else how each pass begins.
    alike = calls[0] * passes[1] == calls[1] * passes[0] or passes[0] == passes[1]
    pair = (one.forwards, other.forwards) if alike else (_first_calls(one), _first_calls(other))
    parted: set[str] = set()
    for first, second in zip(*pair, strict=False):
        states = [call.get("rng") or {} for call in (first, second)]
        names = drawn & states[0].keys() & states[1].keys()
        parted |= {name for name in names if states[0][name] != states[1][name]}
        # A side that draws the samples of all its passes first has drawn for more of them.
        if not names - parted or (parted and passes[0] == passes[1]):
            return None
        if alike and first.get("inputs") != second.get("inputs"):
            return "data"
    # All that both call begins with the same generators.
    return "backward" if any(calls) and passes[0] != passes[1] else None


def _first_calls(step: Step) -> list[Values]:
    """Return the first call with gradients of each backward pass."""
    found: list[Values] = []
    calls, begins = iter(step.forwards), True
    for event in step.phases:
        if event.startswith("forward:"):
            call = next(calls)
            if begins and call["grad"]:
                found.append(call)
                begins = False
        elif event in ("backward", "grad"):
            begins = True
    return found


def _windows_thrown_away(one: Step, other: Step) -> list[int]:
    """Return 1 for a side that went on to another window without a step, and 0 for others.

    A reset within a window, after which only its last losses count, is another matter: both have as many losses then.
    """
    if len(one.losses) == len(other.losses) or one.closures or other.closures:
        return [0, 0]
    pair = [views.effective_losses(step, step.optimizer) for step in (one, other)]
    thrown = [int(len(step.losses) > len(losses)) for step, losses in zip((one, other), pair, strict=True)]
    return [0, 0] if pair[0] == pair[1] else thrown


def _compare_losses(collector: Collector, where: int, one: Step, other: Step) -> None:
    """Compare what gradients came from: not what was thrown away, where one side went through more."""
    pair = [one.losses, other.losses]
    if len(one.losses) != len(other.losses):
        pair = [views.effective_losses(step, step.optimizer) for step in (one, other)]
    phase = "backward" if len(pair[0]) != len(pair[1]) else None
    collector.compare(where, "losses", [numbered(losses) for losses in pair], phase)


def _compare_components(collector: Collector, where: int, one: Events, other: Events, phase: str | None = None) -> None:
    """Compare the values of loss functions, where both call the same ones."""
    if [name for name, _ in one.components] == [name for name, _ in other.components]:
        pair = [
            {f"{number} {name}": value for number, (name, value) in enumerate(events.components, 1)}
            for events in (one, other)
        ]
        collector.compare(where, "components", pair, phase)


def _compare_hyper(collector: Collector, where: int, sides: Sides) -> bool:
    groups = [views.hyper(step) for _, step in sides]
    members = [view.members(step) for view, step in sides]
    collector.compare(where, "groups", [numbered(names) for names in members])
    if members[0] == members[1]:
        pair = [
            {f"group {number} {key}": value for number, group in enumerate(one, 1) for key, value in group.items()}
            for one in groups
        ]
    else:
        pair = [views.by_parameter(one, names) for one, names in zip(groups, members, strict=True)]
    collector.compare(where, "hyper", pair)
    return pair[0] == pair[1]


def _tensors(sides: Sides, kind: str) -> list[Values]:
    """Return digests by name where both have them, else the root over all of them."""
    tables = [view.tensors(step, kind) for view, step in sides]
    lone = kind == "buffers" and any(view.lone for view, _ in sides)
    if all(tables) or (lone and all(step.tensors for _, step in sides)):
        return [*tables]
    roots = [step.roots.get(kind) for _, step in sides]
    # At level `light` the root of the parameters is made in another way.
    other = kind == "parameters" and len({bool(step.tensors) for _, step in sides}) > 1
    return [{}, {}] if None in roots or other else [{"(all)": root} for root in roots]


def _compare_order(collector: Collector, where: int, sides: Sides) -> None:
    logs = [views.order(step, step.optimizer) for _, step in sides]
    phase = None if logs[0] == logs[1] else _phase_of_order(*logs)
    collector.compare(where, "order", [{"events": log} for log in logs], phase)


def _phase_of_order(one: list[str], other: list[str]) -> str:
    """Return the phase of the event that only one side has, or has elsewhere; not of the passes around it."""
    extra = [event for event in dict.fromkeys((*one, *other)) if one.count(event) != other.count(event)]
    if not extra:
        at = next(number for number, pair in enumerate(zip(one, other, strict=True)) if pair[0] != pair[1])
        extra = sorted((one[at], other[at]), key=lambda event: event == "backward")
    return EVENT_PHASES[extra[0]]


def compare_modes(collector: Collector, where: int, steps: Sequence[Step], first: Sequence[Step], alike: bool) -> None:
    """Compare which modules are in training mode.

    Args:
        collector: Gets the pair.
        where: Number of the step.
        steps: Of both sides.
        first: The first steps of both sides.
        alike: Whether both have the same modules; else only whether the modes are those of the first step.
    """
    pair: list[dict[str, Any]] = [{"modules": step.modes} for step in steps]
    if not alike:
        pair = [{"as at first": step.modes == one.modes} for step, one in zip(steps, first, strict=True)]
    calls = [[call["mode"] for call in step.forwards if call["grad"]] for step in steps]
    if len(calls[0]) == len(calls[1]):
        pair = [values | {"calls": modes} for values, modes in zip(pair, calls, strict=True)]
    collector.compare(where, "mode", pair)


def generators_agree(one: Step, other: Step, drawn: set[str]) -> bool:
    """Tell whether two steps left the generators that both sides have in the same states."""
    first, second = _generators([one.rng, other.rng], drawn)
    return {name: first[name] for name in drawn & first.keys()} == {
        name: second[name] for name in drawn & second.keys()
    }


def drawn_at_steps(reference: Trace, candidate: Trace, drawn: set[str]) -> dict[int, set[str]]:
    """Return the generators to compare at each step, numbered from 1.

    The generator of a loader moves when samples are asked for, which workers do earlier. So it counts only where the
    samples of the next epoch differ, too.
    """
    own = {name for name in drawn if name.partition(":")[0] in ("loader", "sampler")}
    found = {}
    next_epoch = this_epoch = True
    for number, (one, other) in reversed([*enumerate(zip(reference.steps, candidate.steps, strict=False), 1)]):
        found[number] = drawn - own if next_epoch else drawn
        this_epoch = this_epoch and _samples(one) == _samples(other)
        if views.epochs(one) or views.epochs(other):
            next_epoch, this_epoch = this_epoch, True
    return found


def _samples(step: Step) -> list[Any]:
    return [batch["digest"] if batch["indices"] is None else batch["indices"] for batch in step.batches]


def compare_calls(
    collector: Collector, where: int, one: Events, other: Events, channels: Sequence[str], phase: str | None = None
) -> None:
    """Compare ``inputs`` or ``outputs`` of the modules that the program calls, where both call as many.

    What a module gets after the outputs of one before differed may come from those. And what it gives after a backward
    pass from another loss may come from that, where an optimizer asks for several passes.
    """
    if len(one.forwards) != len(other.forwards):
        return
    calls = list(zip(one.forwards, other.forwards, strict=True))
    parted = next((at for at, pair in enumerate(calls) if not _same(*pair, "outputs")), len(calls))
    lost = _calls_before_loss(one, other)
    for channel in channels:
        follows = {at: "forward" for at in range(parted + 1, len(calls)) if channel == "inputs"}
        follows |= {at: "loss" for at in range(lost, len(calls)) if channel == "outputs" or at > parted}
        for own in (None, "forward", "loss"):
            numbers = [at for at in range(len(calls)) if follows.get(at) == own]
            sides = [
                {f"call {at + 1}": value for at in numbers if (value := calls[at][side].get(channel)) is not None}
                for side in (0, 1)
            ]
            collector.compare(where, channel, _shared(*sides), phase or own)


def _calls_before_loss(one: Events, other: Events) -> int:
    """Count the calls before the first loss that differs, if they do not; else all."""
    lost = next((at for at, pair in enumerate(zip(one.losses, other.losses, strict=False)) if pair[0] != pair[1]), None)
    events = [name for event in one.phases if (name := event.partition(":")[0]) in ("forward", "backward")]
    if lost is None or events.count("forward") != len(one.forwards):
        return len(one.forwards)
    at = [number for number, name in enumerate(events) if name == "backward"][lost]
    count = events[:at].count("forward")
    pairs = list(zip(one.forwards, other.forwards, strict=True))[:count]
    same = all(_same(*pair, key) for pair in pairs for key in ("inputs", "outputs"))
    return count if same else len(one.forwards)


def _same(one: Values, other: Values, key: str) -> bool:
    return None in (one.get(key), other.get(key)) or one.get(key) == other.get(key)


def calls_agree(one: Events, other: Events, channel: str) -> bool:
    """Tell whether inputs or outputs of the modules that the program calls are the same, where both call as many."""
    pairs = zip(one.forwards, other.forwards, strict=False)
    return len(one.forwards) != len(other.forwards) or all(a.get(channel) == b.get(channel) for a, b in pairs)


def gradients_agree(one: Step, other: Step) -> bool:
    """Tell whether backward passes gave the same gradients, as far as can be told: they are recorded after clipping."""
    if clips.only_clip_differs(one, other):
        return True
    norms = [[clip.get("norm") for clip in step.clips] for step in (one, other)]
    return one.roots.get("gradients") == other.roots.get("gradients") and norms[0] == norms[1]


def compare_evaluation(
    collector: Collector,
    where: int,
    one: Evaluation,
    other: Evaluation,
    channels: Sequence[str],
    drawn: set[str],
    samples: str = "digest",
    reported: bool = False,
) -> None:
    """Compare two evaluations but for their metrics, which may be reported when they are over.

    One that its model did not leave has some of the next step in it, so only what both have is compared then.

    Args:
        collector: Gets all pairs.
        where: How many steps were done before.
        one: Of the reference.
        other: Of the candidate.
        channels: Which of ``inputs`` and ``outputs`` can be compared.
        drawn: Generators whose states are compared before and after.
        samples: Which field of batches is compared: ``indices`` where loaders give them in another form.
        reported: Whether both sides report metrics after it.
    """
    left = one.ended == other.ended or None in (one.ended, other.ended)
    for name, word in (("rng_before", "before"), ("rng", "after"))[: 2 if left else 1]:
        pair = _generators([getattr(side, name) for side in (one, other)], drawn)
        collector.compare(where, "rng", [{f"{word} evaluation: {k}": v for k, v in side.items()} for side in pair])
    batches = [numbered([batch[samples] for batch in side.batches]) for side in (one, other)]
    if all(batches):
        collector.compare(where, "data", batches if left else _shared(*batches), "evaluation")
    if not left:
        return
    compare_calls(collector, where, one, other, channels, "evaluation")
    _compare_components(collector, where, one, other, "evaluation")
    if not (all(batches) or reported or _reports_alike(one, other)):
        collector.compare(where, "evaluations", [{"calls of models": len(side.forwards)} for side in (one, other)])


def _reports_alike(one: Evaluation, other: Evaluation) -> bool:
    """Tell whether metrics or losses say what came out of an evaluation, however often models were called for it."""
    names = [[name for name, _ in side.components] for side in (one, other)]
    return bool((one.metrics and other.metrics) or (names[0] and names[0] == names[1]))


def compare_checkpoint(
    collector: Collector, where: int, pair: tuple[Checkpoint, Checkpoint], sides: tuple[View, View], only: str
) -> None:
    """Compare what both sides saved, key by key.

    Args:
        collector: Gets the pair.
        where: How many steps were done before.
        pair: Of reference and candidate.
        sides: Those; they know how keys are renamed.
        only: Pattern for keys that are compared, after they were renamed.
    """
    keys = [views.saved_keys(view, one) for view, one in zip(sides, pair, strict=True)]
    found = [views.saved(view, one, only, other) for view, one, other in zip(sides, pair, reversed(keys), strict=True)]
    collector.compare(where, "checkpoint", found)
