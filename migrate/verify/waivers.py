"""Differences that a case allows for a while: each with a reason, a bound and a day on which it ends."""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from bem_core.config.schema import Count, Range
from migrate.verify.verdict import Divergence, WaiverUse

UNUSED = "nothing needed it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiver:
    """An exception.

    Attributes:
        id: Its name, once in a case.
        reason: Why the difference is right.
        channel: What may differ, such as ``clip``.
        expires: Last day on which it counts.
        keys: Pattern for names within the channel; all of them by default.
        first_step: Earlier differences are not covered.
        last_step: Neither are later ones.
        bound: Largest relative error; None where only equality can be known, or any error is right.
    """

    id: str
    reason: str
    channel: str
    expires: datetime.date
    keys: str = ".*"
    first_step: Count = 0
    last_step: Count | None = None
    bound: Annotated[float, Range(above=0)] | None = None

    def covers(self, one: Divergence, today: datetime.date) -> bool:
        """Tell whether it excuses a difference."""
        return (
            today <= self.expires
            and one.channel == self.channel
            and self.first_step <= one.step
            and (self.last_step is None or one.step <= self.last_step)
            and re.fullmatch(self.keys, one.key) is not None
            and (self.bound is None or (one.error is not None and one.error <= self.bound))
        )


def apply(
    waivers: Sequence[Waiver], divergences: Sequence[Divergence], today: datetime.date
) -> tuple[list[Divergence], list[WaiverUse]]:
    """Return the differences with what excuses each, and what became of each waiver.

    A waiver that nothing needed and one that has expired are stale.
    """
    marked, used = [], dict.fromkeys((waiver.id for waiver in waivers), 0)
    for one in divergences:
        waiver = None if one.tolerated else next((waiver for waiver in waivers if waiver.covers(one, today)), None)
        if waiver is not None:
            used[waiver.id] += 1
        marked.append(one if waiver is None else dataclasses.replace(one, waiver=waiver.id))
    return marked, [WaiverUse(one.id, one.reason, used[one.id], _stale(one, used[one.id], today)) for one in waivers]


def _stale(waiver: Waiver, used: int, today: datetime.date) -> str | None:
    if today > waiver.expires:
        return f"expired on {waiver.expires}"
    return None if used else UNUSED
