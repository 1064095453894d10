"""Tensors that go into models and come out of them, where the two sides call their models in other ways. Pure.

One side may call a whole model and the other its parts, or give results in another order. In a step in which both did
the same, tensors with the same content are the same tensor; in later steps with the same calls these are compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from migrate.verify.trace.reader import Events

_FIELDS = {"inputs": "input_tensors", "outputs": "output_tensors"}
# Number of the call and of the tensor in it.
Place = tuple[int, int]
Shape = tuple[tuple[int, int], ...]


@dataclass(slots=True)
class Pairing:
    """What is known of one channel, ``inputs`` or ``outputs``.

    Attributes:
        channel: Which.
        num_known: Pairs of tensors.
    """

    channel: str
    num_known: int = 0
    _pairs: dict[tuple[Shape, Shape], list[tuple[Place, Place]]] = field(default_factory=dict)

    def compare(self, one: Events, other: Events, same: bool) -> list[Mapping[str, str]]:
        """Return the digests of tensors that are known to be the same, by their place in the reference.

        Args:
            one: Of the reference.
            other: Of the candidate.
            same: Whether both came to the same losses and gradients: what differs then is no difference, and what
                agrees is known from now on.
        """
        sides = [self._tensors(side) for side in (one, other)]
        shapes = _shape(one, self.channel), _shape(other, self.channel)
        known = self._pairs.get(shapes)
        if known is None:
            if same:
                self._pairs[shapes] = _pairs(*sides)
                self.num_known = max(self.num_known, len(self._pairs[shapes]))
            return [{}, {}]
        if same:
            known[:] = [(place, mate) for place, mate in known if sides[0][place] == sides[1][mate]]
        names = {place: f"call {place[0] + 1} tensor {place[1] + 1}" for place, _ in known}
        return [
            {names[place]: sides[0][place] for place, _ in known},
            {names[place]: sides[1][mate] for place, mate in known},
        ]

    def _tensors(self, events: Events) -> dict[Place, str]:
        # What goes into a later call may have come out of an earlier one.
        first = _first_calls(events) if self.channel == "inputs" else None
        return {
            (call, at): digest
            for call, record in enumerate(events.forwards)
            if first is None or call in first
            for at, digest in enumerate(record.get(_FIELDS[self.channel], ()))
        }


def _first_calls(events: Events) -> set[int]:
    """Return the numbers of the calls that come first, or first after a batch or a backward pass."""
    if sum(event.startswith("forward:") for event in events.phases) != len(events.forwards):
        return {0}  # Some were taken out of the step, or into it.
    found, call, first = set[int](), 0, True
    for event in events.phases:
        if event.startswith("forward:"):
            found |= {call} if first else set()
            call, first = call + 1, False
        elif event == "backward" or event.startswith("batch:"):
            first = True
    return found


def _shape(events: Events, channel: str) -> Shape:
    return tuple((call["entry"], _count(call, channel)) for call in events.forwards)


def _count(call: Mapping[str, Any], channel: str) -> int:
    return len(call.get(_FIELDS[channel], ()))


def _pairs(one: Mapping[Place, str], other: Mapping[Place, str]) -> list[tuple[Place, Place]]:
    """Return the places that have the same content, which no other place of their side has."""
    counts = Counter(one.values()), Counter(other.values())
    places = {digest: place for place, digest in other.items() if counts[1][digest] == 1}
    return [(place, places[digest]) for place, digest in one.items() if counts[0][digest] == 1 and digest in places]
