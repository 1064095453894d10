"""Named parts of a test set, as ``evaluation.slices`` describes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from bem_core.errors import nearest
from bem_core.evaluation.errors import EvaluationError
from bem_core.evaluation.samples import is_per_sample

# Keys that describe a slice and select nothing.
_LABELS = frozenset(("name", "type", "description"))


@dataclass(frozen=True, slots=True)
class Condition:
    """What a field of a sample must be.

    Attributes:
        field: Name of an output of the model or of a part of the batch.
        kind: ``min``, ``max`` or ``is``.
        value: The bound, or for ``is`` the values that are allowed.
    """

    field: str
    kind: str
    value: Any

    def holds(self, column: Tensor | list[Any] | tuple[Any, ...]) -> list[bool]:
        """Tell for each sample whether it fulfils it.

        A tensor is compared in its own type: 0.7 in float32 is less than 0.7 in Python.
        """
        if self.kind == "is":
            found = column.tolist() if isinstance(column, Tensor) else column
            return [one in self.value for one in found]
        if isinstance(column, Tensor):
            mask: list[bool] = (column >= self.value if self.kind == "min" else column <= self.value).tolist()
            return mask
        return [bool(one >= self.value if self.kind == "min" else one <= self.value) for one in column]


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of the test set: the samples that fulfil all conditions, so all samples where there is none."""

    name: str
    conditions: tuple[Condition, ...]

    def members(self, values: Mapping[str, Any], num_samples: int) -> list[int]:
        """Return the positions of its samples in a batch.

        Raises:
            EvaluationError: Neither outputs nor batch have a field for each sample.
        """
        members = list(range(num_samples))
        for condition in self.conditions:
            column = self._column(condition.field, values, num_samples)
            try:
                holds = condition.holds(column)
            except TypeError as error:
                raise EvaluationError(
                    f"evaluation.slices.{self.name}: {condition.field!r} cannot be compared with {condition.value!r}"
                ) from error
            members = [number for number in members if holds[number]]
        return members

    def _column(self, field: str, values: Mapping[str, Any], num_samples: int) -> Any:
        column: Any = values.get(field)
        if not _is_column(column, num_samples):
            found = sorted(name for name, value in values.items() if _is_column(value, num_samples))
            hint = nearest(field, found) or f"; there are {', '.join(found) or 'none'}"
            raise EvaluationError(
                f"evaluation.slices.{self.name}: samples have no {field!r}, in the batch or the outputs{hint}"
            )
        return column


def _is_column(value: Any, num_samples: int) -> bool:
    return is_per_sample(value, num_samples) and not (isinstance(value, Tensor) and value.ndim > 1)


def read(slices: Mapping[str, Any]) -> list[Slice]:
    """Read ``evaluation.slices``: for each name a mapping of conditions.

    ``min_x`` and ``x_threshold`` are the least value of a field ``x``, ``max_x`` the greatest; any other key is a
    field, with the value or the list of values that it must have. ``name``, ``type`` and ``description`` select
    nothing.

    Raises:
        EvaluationError: Something else is written there; all of it is named.
    """
    problems: list[str] = []
    found = [Slice(str(name), _conditions(str(name), rule, problems)) for name, rule in slices.items()]
    if problems:
        raise EvaluationError("\n".join(problems))
    return found


def _conditions(name: str, rule: Any, problems: list[str]) -> tuple[Condition, ...]:
    if not isinstance(rule, Mapping):
        problems.append(f"evaluation.slices.{name}: expected a mapping of conditions, found {rule!r:.60}")
        return ()
    conditions = []
    for key, value in rule.items():
        if key in _LABELS:
            continue
        condition = _condition(str(key), value)
        if condition.kind != "is" and (isinstance(value, bool) or not isinstance(value, int | float)):
            problems.append(f"evaluation.slices.{name}.{key}: expected a number, found {value!r:.60}")
        conditions.append(condition)
    return tuple(conditions)


def _condition(key: str, value: Any) -> Condition:
    if key.startswith("min_"):
        return Condition(key[4:], "min", value)
    if key.endswith("_threshold"):
        return Condition(key.removesuffix("_threshold"), "min", value)
    if key.startswith("max_"):
        return Condition(key[4:], "max", value)
    return Condition(key, "is", value if isinstance(value, list) else [value])
