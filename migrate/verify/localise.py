"""From the first step that differs to the module it comes from, by traces of level ``deep``. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from migrate.verify.names import renamed
from migrate.verify.phases import PHASES
from migrate.verify.trace.reader import Names, Step, Trace
from migrate.verify.verdict import Divergence, Localised, Verdict

Call = dict[str, Any]

# Phases of a first difference that modules may be the cause of. After the losses agreed, what modules get and give can
# differ in form only; gradients are not in every step of a trace of level light, and show in the update then.
_BY_FORWARD = PHASES[: PHASES.index("loss") + 1]
_BY_BACKWARD = (*PHASES[: PHASES.index("backward") + 1], "update")
_RECORD_DEEP = "traces of level deep tell the module or the draw that this comes from: record both with --level deep"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two records in ``calls`` of a step whose values differ.

    Attributes:
        what: ``output``, or ``gradient`` of it.
        reference: Place of the one.
        candidate: Place of the other.
    """

    what: str
    reference: int
    candidate: int


@dataclass(frozen=True, slots=True)
class _Found:
    detail: str
    module: str
    phase: str
    pair: Pair


# What a difference that begins in a phase usually comes from.
_CAUSES = {
    "setup": "another initialisation, another order of making modules, or other groups of parameters",
    "data": "another order of samples, another sampler or its seed, or another preparation of batches",
    "rng": "a random draw that is extra, missing or elsewhere, or another seed",
    "mode": "modules left in evaluation or training mode",
    "forward": "another computation in this module, such as an activation, a constant or a cast",
    "loss": "another loss, weight, reduction or divisor of accumulation",
    "backward": "a detached or doubled path, gradients not reset, or another scaling before the backward pass",
    "clip": "another limit, another norm, or clipping at another place",
    "hyper": "another schedule, another group of parameters, or another value in the configuration",
    "update": "another optimizer, a state that was lost, or parameters changed outside of the optimizer",
    "buffers": "running statistics updated otherwise, such as another momentum",
    "evaluation": "another metric, another weighting of batches, or evaluation at other steps",
    "checkpoint": "a key that is missing or saved at another moment",
    "end": "another number of steps, or events in another order",
}


def cause_of(first: Divergence) -> str:
    """Return the likely class of cause of a difference."""
    return _CAUSES[first.phase]


def located(verdict: Verdict, reference: Trace, candidate: Trace, patterns: Mapping[str, str]) -> Verdict:
    """Add where the first difference comes from, if both traces have it at level ``deep``, or say that they could.

    Values are not at hand: a trace has digests.

    Args:
        verdict: Of the two traces.
        reference: The run that is right.
        candidate: The run that must have done the same.
        patterns: Names in the candidate for names of the reference, as the case has them.
    """
    first = verdict.first
    sides = (reference, candidate)
    if first is None or any(_step(one, first.step) is None for one in sides):
        return verdict
    if any(one.header["level"] != "deep" for one in sides):
        told = (_RECORD_DEEP,) if first.phase in _BY_BACKWARD else ()
        return dataclasses.replace(verdict, notes=(*verdict.notes, *told))
    return dataclasses.replace(verdict, localised=localise(reference, candidate, first, patterns)[0])


def localise(
    reference: Trace,
    candidate: Trace,
    first: Divergence,
    patterns: Mapping[str, str],
    before: tuple[int, int] = (0, 0),
) -> tuple[Localised, Pair | None]:
    """Find the first module whose inputs agree and whose output differs, and the first random draw that does.

    Args:
        reference: Recorded with level ``deep`` at the step that differs, and best at the one before it, too: modules
            that get or give something else there do so in another form.
        candidate: The same.
        first: What was found before.
        patterns: Names in the candidate for names of the reference, as the case has them.
        before: Steps that were done before the first one of each trace.

    Returns:
        What was found, and where the two calls are whose values differ.
    """
    pair = [_step(trace, first.step - done) for trace, done in zip((reference, candidate), before, strict=True)]
    one, other = pair
    if one is None or other is None:
        return Localised(f"step {first.step} was not reached again", cause=cause_of(first)), None
    if first.phase == "rng" and first.channel == "rng":
        return _draws(one, other, first.key), None
    calls = [list(_calls(trace, step)) for trace, step in zip((reference, candidate), (one, other), strict=True)]
    found = None
    if first.phase in _BY_FORWARD:
        forms = _in_other_form(reference, candidate, first.step, patterns, before)
        found = _first_forward(*_with(calls, "outputs"), patterns, forms)
    if found is None and first.phase in _BY_BACKWARD:
        found = _first_gradient(*_with(calls, "gradient"), patterns)
    if found is None:
        detail = f"none of {len(calls[0])} calls of modules is the cause; the difference begins in phase {first.phase}"
        return Localised(detail, cause=cause_of(first)), None
    # What was found before the replay is not caused by what comes after it.
    cause = min(found.phase, first.phase, key=PHASES.index)
    return Localised(found.detail, found.module, cause=_CAUSES[cause]), found.pair


def _step(trace: Trace, number: int) -> Step | None:
    """Return a step by its number from 1 in the whole run; a difference before the first one shows in it."""
    return next((step for step in trace.steps if step.number == max(number, 1) - 1), None)


def _calls(trace: Trace, step: Step) -> Iterator[Call]:
    """Yield the calls of a step with the full path of each module, and their places."""
    names = trace.names_of(step)
    for place, call in enumerate(step.calls):
        yield {**call, "path": _path(names, call), "place": place}


def _with(sides: Sequence[Sequence[Call]], key: str) -> tuple[list[Call], list[Call]]:
    one, other = ([call for call in side if key in call] for side in sides)
    return one, other


def _path(names: Names, call: Call) -> str:
    entry = call["entry"]
    above = names.entries[entry]["path"] if 0 <= entry < len(names.entries) else ""
    return ".".join(part for part in (above, call["path"]) if part)


def _in_other_form(
    reference: Trace, candidate: Trace, step: int, patterns: Mapping[str, str], before: tuple[int, int]
) -> set[str]:
    """Return the modules that got or gave something else in the last step before that called any: nothing differed."""
    for earlier in range(step - 1, max(before), -1):
        numbers = [earlier - done for done in before]
        steps = [_step(trace, number) for trace, number in zip((reference, candidate), numbers, strict=True)]
        calls = [list(_calls(trace, one)) for trace, one in zip((reference, candidate), steps, strict=True) if one]
        if len(calls) < len(steps):
            break
        if all(calls):
            pairs = _matched(*_with(calls, "outputs"), patterns)
            return {one["path"] for one, other in pairs if any(one[key] != other[key] for key in ("inputs", "outputs"))}
    return set()


def _first_forward(
    one: Sequence[Call], other: Sequence[Call], patterns: Mapping[str, str], forms: set[str]
) -> _Found | None:
    """Return what is first in the forward pass: calls come in the order in which they end, the innermost first."""
    inside: _Found | None = None
    agreed: set[str] = set()
    for number, (call, match) in enumerate(_matched(one, other, patterns)):
        if call["path"] in forms:
            continue
        pair = Pair("output", call["place"], match["place"])
        if call["inputs"] != match["inputs"]:
            if not inside and _holds(call["path"], agreed):
                continue  # It gets its inputs in another form: what is in it got the same.
            detail = "its inputs differ, and no module before it is the cause"
            # What the first module gets is what the program gives to the model.
            inside = inside or _Found(detail, call["path"], "forward" if number else "data", pair)
        elif call["outputs"] != match["outputs"]:
            detail = "its inputs agree and its output differs"
            detail += f"; the first difference in it is what it gives to {inside.module}" if inside else ""
            return _Found(detail, call["path"] or "(the model)", "forward", pair)
        else:
            agreed.add(call["path"])
    return inside


def _holds(path: str, inner: set[str]) -> bool:
    """Tell whether one of some modules is inside of another."""
    return any(one.startswith(f"{path}." if path else "") for one in inner)


def _first_gradient(one: Sequence[Call], other: Sequence[Call], patterns: Mapping[str, str]) -> _Found | None:
    for call, match in _matched(one, other, patterns):
        if call["gradient"] != match["gradient"]:
            detail = "the gradient of its output is the first that differs in the backward pass"
            pair = Pair("gradient", call["place"], match["place"])
            return _Found(detail, call["path"] or "(the model)", "backward", pair)
    return None


def _matched(one: Sequence[Call], other: Sequence[Call], patterns: Mapping[str, str]) -> Iterator[tuple[Call, Call]]:
    """Yield each call with that of the same module on the other side, in order; others are left out."""
    later = _by_path(other)
    for call in one:
        if same := later.get(_renamed(call["path"], patterns), []):
            yield call, same.pop(0)


def _by_path(calls: Sequence[Call]) -> dict[str, list[Call]]:
    found: dict[str, list[Call]] = {}
    for call in calls:
        found.setdefault(call["path"], []).append(call)
    return found


def _renamed(path: str, patterns: Mapping[str, str]) -> str:
    """Return what the candidate calls a module: patterns are for tensors, so one of its tensors is tried."""
    new = renamed(path, patterns)
    if new != path or not path:
        return new
    tensor = renamed(f"{path}.weight", patterns)
    return tensor.removesuffix(".weight") if tensor.endswith(".weight") else path


def _draws(one: Step, other: Step, key: str) -> Localised:
    """Return the first place that draws from a generator on one side only, or draws other numbers.

    Args:
        one: The step of the reference.
        other: That of the candidate.
        key: Of the difference; begins with the name of the generator.
    """
    generator = key.partition(" ")[0]
    pair = [[draw for draw in side.draws if _is_from(draw, generator)] for side in (one, other)]
    at = next((n for n, (a, b) in enumerate(zip(*pair, strict=False)) if _what(a) != _what(b)), None)
    at = min(map(len, pair)) if at is None else at
    places = [side[at] if at < len(side) else None for side in pair]
    if places == [None, None]:
        seen = f"both sides draw from {generator} alike, {at} times"
        return Localised(f"{seen}: its state was another one, or something draws unseen", cause=_CAUSES["rng"])
    told = [f"{name} {_shown(place)}" for name, place in zip(("reference:", "candidate:"), places, strict=True)]
    extra = places[1] or places[0]
    stack = tuple((extra or {}).get("at", ()))
    return Localised(f"draw {at + 1}: {'; '.join(told)}", cause=_CAUSES["rng"], stack=stack)


def _is_from(draw: dict[str, Any], generator: str) -> bool:
    """Tell whether something may have drawn from a generator."""
    kind = draw["function"].partition(".")[0]
    if generator in ("python", "numpy"):
        return bool(kind == {"python": "random", "numpy": "numpy"}[generator])
    default = generator == "torch" or generator.startswith("cuda")
    return kind not in ("random", "numpy") and default != draw.get("generator", False)


def _what(draw: dict[str, Any]) -> Any:
    return draw["function"], draw.get("generator", False)


def _shown(draw: dict[str, Any] | None) -> str:
    return "draws nothing" if draw is None else f"{draw['function']} at {(draw['at'] or ['?'])[0]}"
