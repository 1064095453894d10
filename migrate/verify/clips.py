"""Clipping of gradients in two steps. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from migrate.verify import views
from migrate.verify.collector import Collector, numbered
from migrate.verify.trace.reader import Step

_SETTINGS = ("kind", "max_norm", "norm_type")
Values = Mapping[str, Any]


def _clip_places(step: Step) -> list[int]:
    return [at for at, event in enumerate(views.order(step, step.optimizer)) if event == "clip"]


def _same_tensors(clips: tuple[Values, Values], missing: Sequence[int]) -> bool:
    """Tell whether two clips are of the same tensors: one without a gradient may be given or not.

    Where as many are given and one lacks its gradient, that is no matter of clipping; nor is it where as many more are
    clipped as lack none.

    Args:
        clips: Of both sides.
        missing: How many trained tensors of each side have no gradient, as far as that is known.
    """
    one, other = clips
    if any(one.get(key) == other.get(key) for key in ("num", "with_gradient")):
        return True
    counts = [clip.get("with_gradient") for clip in clips]
    sums = {count + none for count, none in zip(counts, missing, strict=True) if count is not None}
    return None not in counts and len(sums) == 1


def _missing(*steps: Step) -> list[int]:
    """Return how many trained tensors have no gradient, in each of some steps."""
    return [sum(digest is None for digest in step.tensors.get("gradients", {}).values()) for step in steps]


def _clipped_alike(one: Step, other: Step) -> bool:
    """Tell whether both clip the same gradients in the same way, as must be for norms to be of the same."""
    settings = [[(clip.get("kind"), clip.get("norm_type")) for clip in step.clips] for step in (one, other)]
    if settings[0] != settings[1] or _clip_places(one) != _clip_places(other):
        return False
    missing = _missing(one, other)
    return all(_same_tensors(pair, missing) for pair in zip(one.clips, other.clips, strict=True))


def only_clip_differs(one: Step, other: Step) -> bool:
    """Tell whether clipping, and nothing before it, can be why gradients differ: they are recorded after it."""
    if not _clipped_alike(one, other):
        return True
    norms = _norms(one, other)
    limits = [[_limits(clip) for clip in step.clips] for step in (one, other)]
    return norms[0] == norms[1] and limits[0] != limits[1]


def _limits(clip: Values) -> list[Any]:
    return [clip.get(key) for key in ("max_norm", "coefficient")]


def _norms(one: Step, other: Step) -> list[list[Any]]:
    """Return the norms before clipping of both sides, but for those after a clip that differs: they come from it."""
    scaled = (_limits(first) != _limits(second) for first, second in zip(one.clips, other.clips, strict=False))
    last = next((number for number, differs in enumerate(scaled, 1) if differs), None)
    return [[clip.get("norm") for clip in step.clips[:last]] for step in (one, other)]


def compare_clips(collector: Collector, where: int, one: Step, other: Step) -> None:
    """Compare what clipping was asked for and did, and the norms before it.

    Args:
        collector: Gets all pairs.
        where: Number of the step, from 1.
        one: The step of the reference.
        other: That of the candidate.
    """
    pair: list[dict[str, Any]] = [{}, {}]
    for values, step in zip(pair, (one, other), strict=True):
        for number, clip in enumerate(step.clips, 1):
            values |= {f"{number} {key}": clip.get(key) for key in (*_SETTINGS, "coefficient")}
    missing = _missing(one, other)
    for number, clips in enumerate(zip(one.clips, other.clips, strict=False), 1):
        if not _same_tensors(clips, missing):
            for values, clip in zip(pair, clips, strict=True):
                values[f"{number} tensors"] = clip.get("with_gradient", clip.get("num"))
    collector.compare(where, "clip", pair)
    # The norm before clipping is one of gradients.
    if _clipped_alike(one, other):
        collector.compare(where, "norm", [numbered(norms) for norms in _norms(one, other)])
