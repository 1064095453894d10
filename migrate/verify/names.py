"""Which tensor of the candidate is which of the reference: a map that must be a bijection, or a proposal for one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bem_core.errors import nearest

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Tensor:
    """What a trace says of a parameter or buffer before the first step.

    Attributes:
        name: Path of modules.
        form: Type and shape.
        digest: Of its content.
    """

    name: str
    form: str
    digest: str


@dataclass(frozen=True, slots=True)
class Match:
    """The outcome of matching names.

    Attributes:
        to_reference: Name in the reference for each name in the candidate that has one.
        problems: Why it is no bijection; empty if it is one.
    """

    to_reference: Mapping[str, str]
    problems: tuple[str, ...] = ()

    def reference_name(self, name: str) -> str:
        """Return what the reference calls a tensor of the candidate; a name that is not in the map stays."""
        return self.to_reference.get(name, name)

    def reference_state(self, name: str) -> str:
        """Return the same for a tensor of the state of an optimizer: the name of a parameter, a dot and a key."""
        parameter, _, key = name.rpartition(".")
        return f"{self.reference_name(parameter)}.{key}"


def renamed(name: str, patterns: Mapping[str, str]) -> str:
    """Return what the candidate calls a tensor, by the patterns of a case."""
    for pattern, replacement in patterns.items():
        if found := re.fullmatch(pattern, name):
            return found.expand(replacement)
    return name


def match(reference: Sequence[str], candidate: Sequence[str], patterns: Mapping[str, str]) -> Match:
    """Match all names by patterns, and say what is left over, twice taken or never used."""
    there, problems, found = set(candidate), [], dict[str, str]()
    lacking = []
    for name in reference:
        other = renamed(name, patterns)
        if other in found:
            problems.append(f"{found[other]!r} and {name!r} of the reference are both {other!r}")
        elif other in there:
            found[other] = name
        else:
            lacking.append(other if other == name else f"{other} (for {name})")
    over = [name for name in candidate if name not in found]
    if lacking:
        hint = nearest(lacking[0].partition(" ")[0], over)
        problems.append(f"the candidate has no {_list(lacking)}{hint}")
    if over:
        problems.append(f"the reference has no counterpart for {_list(over)}")
    for pattern in patterns:
        if not any(re.fullmatch(pattern, name) for name in reference):
            problems.append(f"no name of the reference fits the pattern {pattern!r}{nearest(pattern, reference)}")
    return Match(found, tuple(problems))


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def propose(reference: Sequence[Tensor], candidate: Sequence[Tensor]) -> dict[str, str]:
    """Propose a map, by content before the first step, then by form where only one is left, then by order.

    Returns:
        Names of the candidate by names of the reference, only those that differ; what has no counterpart is left out.
    """
    open_ones, found = list(candidate), dict[str, str]()
    for same in (_same_name, _same_content, _same_form):
        for tensor in reference:
            if tensor.name in found:
                continue
            fits = [other for other in open_ones if same(tensor, other)]
            if fits:
                found[tensor.name] = fits[0].name
                open_ones.remove(fits[0])
    return {name: other for name, other in found.items() if name != other}


def _same_name(one: Tensor, other: Tensor) -> bool:
    return (one.name, one.form) == (other.name, other.form)


def _same_content(one: Tensor, other: Tensor) -> bool:
    return (one.form, one.digest) == (other.form, other.digest)


def _same_form(one: Tensor, other: Tensor) -> bool:
    return one.form == other.form
