"""What differs between two plain structures, named by DeepDiff. Never tensors; loads without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bem_core.config.merge import dotted

ABSENT = "(absent)"
_SHOWN = 120


@dataclass(frozen=True, slots=True)
class Change:
    """One difference.

    Attributes:
        key: Dotted; a whole mapping or list that only one side has is one difference.
        old: What the first has, with its type, as text.
        new: What the second has.
    """

    key: str
    old: str
    new: str

    def __str__(self) -> str:
        """Return one line."""
        return f"{self.key or '(top)'}: {self.old} and {self.new}"


def changes(old: Any, new: Any) -> list[Change]:
    """Return what differs, types included; the order of keys does not count, that of lists does.

    Floats are compared by their bits but for the sign and the payload of nan.
    """
    from deepdiff import DeepDiff

    tree = DeepDiff(_leaves(old), _leaves(new), view="tree", verbose_level=1, threshold_to_diff_deeper=0)
    found = [_change(one) for kind in tree.values() for one in kind]
    return sorted(found, key=lambda one: one.key)


def _leaves(value: Any) -> Any:
    """Return the structure with each leaf as a text that has its type: DeepDiff takes 0.0 for -0.0."""
    if isinstance(value, Mapping):
        return {key: _leaves(below) for key, below in value.items()}
    if isinstance(value, list | tuple):
        return [_leaves(below) for below in value]
    return _text(value)


def _text(value: Any) -> str:
    return str(value) if isinstance(value, Opaque) else f"{value!r} ({type(value).__name__})"


class Opaque(str):
    """A leaf that says all of itself, such as the type and shape of a tensor that is compared elsewhere."""

    __slots__ = ()


def _change(one: Any) -> Change:
    key = dotted(tuple(one.path(output_format="list")))
    return Change(key, _side(one.t1), _side(one.t2))


def _side(value: Any) -> str:
    from deepdiff.helper import notpresent

    if value is notpresent:
        return ABSENT
    if isinstance(value, dict):
        return f"a mapping of {len(value)}"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    text = str(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
