"""Collects what differs, in causal order, with waivers applied as it comes."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from migrate.verify.numbers import relative_error
from migrate.verify.phases import CHANNELS, rank
from migrate.verify.verdict import ChannelCount, Divergence, WaiverUse
from migrate.verify.waivers import UNUSED, Waiver, apply

_ABSENT: Any = object()
# Of one step; a model of a thousand tensors need not be listed in full.
_MOST = 2000


@dataclass(slots=True)
class _Count:
    compared: int = 0
    different: int = 0
    first_step: int | None = None


class Collector:
    """Takes pairs of values, step by step, and keeps the differences of the first steps that nothing excuses.

    Args:
        waivers: Of the case.
        today: The day that waivers are held against.
        judge: Marks differences that a tolerance covers.
    """

    def __init__(
        self,
        waivers: Sequence[Waiver],
        today: datetime.date,
        judge: Callable[[Divergence], Divergence] | None = None,
    ) -> None:
        self.divergences: list[Divergence] = []
        self._waivers = waivers
        self._today = today
        self._judge = judge
        self._counts: dict[str, _Count] = {}
        self._block: list[Divergence] = []
        self.closed = False

    def compare(self, step: int, channel: str, pair: Sequence[Mapping[str, Any]], phase: str | None = None) -> None:
        """Compare two mappings of values.

        Args:
            step: Number of the step, from 1.
            channel: What they are.
            pair: Values of reference and candidate by key, as the reference calls it.
            phase: Of what differs; by default that of the channel.
        """
        reference, candidate = pair
        count = self._counts.setdefault(channel, _Count())
        keys = dict.fromkeys((*reference, *candidate))
        differing = [key for key in keys if reference.get(key, _ABSENT) != candidate.get(key, _ABSENT)]
        count.compared += len(keys)
        count.different += len(differing)
        if differing and count.first_step is None:
            count.first_step = step
        if self.closed:
            return
        for key in differing[:_MOST]:
            values = reference.get(key, _ABSENT), candidate.get(key, _ABSENT)
            self._block.append(_divergence(step, phase or CHANNELS[channel], channel, key, *values))

    def end_block(self) -> None:
        """Put what came since the last call into causal order; after the first block with an open one, only count."""
        found = self._block if self._judge is None else [self._judge(one) for one in self._block]
        marked, _ = apply(self._waivers, found, self._today)
        kept = sorted(marked, key=lambda one: rank(one.phase, one.channel))
        if len(self.divergences) > _MOST:
            kept = [one for one in kept if not one.tolerated]
        self.divergences += kept
        self._block.clear()
        self.closed = self.closed or any(one.open for one in marked)

    def counts(self) -> tuple[ChannelCount, ...]:
        """Return the counts of all channels, in causal order."""
        found = [
            ChannelCount(name, CHANNELS[name], one.compared, one.different, one.first_step)
            for name, one in self._counts.items()
            if one.compared
        ]
        return tuple(sorted(found, key=lambda one: rank(one.phase, one.channel)))

    def waiver_uses(self) -> tuple[WaiverUse, ...]:
        """Return what became of each waiver; after a difference that nothing excuses, one may be needed later."""
        _, uses = apply(self._waivers, self.divergences, self._today)
        if self.closed:
            uses = [dataclasses.replace(use, stale=None) if use.stale == UNUSED else use for use in uses]
        return tuple(uses)


def _divergence(step: int, phase: str, channel: str, key: str, reference: Any, candidate: Any) -> Divergence:
    """Return a difference of two values; numbers, also those of ``float.hex``, get their relative error."""
    one, other = number(reference), number(candidate)
    error = None
    if one is not None and other is not None:
        error = relative_error(one, other)
    return Divergence(step, phase, channel, key, shown(reference), shown(candidate), error)


def number(value: Any) -> float | None:
    """Return the number that a value of a trace stands for; None for digests, texts and what is not there."""
    if isinstance(value, bool) or value is None or value is _ABSENT:
        return None
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, str) and ("0x" in value or value in ("inf", "-inf", "nan")):
        try:
            return float.fromhex(value)
        except ValueError:
            return None
    return None


def shown(value: Any) -> str:
    """Return a value for people."""
    if value is _ABSENT:
        return "(absent)"
    found = number(value)
    if found is not None and isinstance(value, str):
        return repr(found)
    if isinstance(value, list):
        return f"[{', '.join(map(shown, value))}]"
    return str(value)


def numbered(values: Sequence[Any]) -> dict[str, Any]:
    """Return values by their numbers, from 1, as `Collector.compare` wants them."""
    return {str(number): value for number, value in enumerate(values, 1)}
