"""Plain data to dataclasses, with every problem reported; the types of the fields are the schema."""

from __future__ import annotations

import dataclasses
import math
import re
import types
import typing
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeVar, Union

from bem_core.config.merge import Path
from bem_core.errors import nearest

T = TypeVar("T")
# What YAML 1.2 reads as a number and YAML 1.1, and so PyYAML, as a text.
NUMBER_TEXT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|0o[0-7]+", re.ASCII)
_INVALID: Any = object()
# Problems with a suggestion; looking for the nearest name takes time, and the input may be hostile.
_EXPLAINED = 100
_FIELDS: dict[Any, dict[str, Any]] = {}


@dataclass(frozen=True, slots=True)
class Range:
    """Bounds of a number; None for no bound.

    Attributes:
        low: Smallest value.
        above: What it must be greater than.
        high: Greatest value.
        below: What it must be less than.
    """

    low: float | None = None
    above: float | None = None
    high: float | None = None
    below: float | None = None

    def __str__(self) -> str:
        """Return the bounds in words, such as ``above 0``."""
        words = {"at least": self.low, "above": self.above, "at most": self.high, "below": self.below}
        return " and ".join(f"{word} {bound}" for word, bound in words.items() if bound is not None)

    def holds(self, value: float) -> bool:
        """Tell whether ``value`` is inside the bounds."""
        return (
            (self.low is None or value >= self.low)
            and (self.above is None or value > self.above)
            and (self.high is None or value <= self.high)
            and (self.below is None or value < self.below)
        )


Free = dict[str, Any]
Positive = Annotated[int, Range(low=1)]
Count = Annotated[int, Range(low=0)]
PositiveFloat = Annotated[float, Range(above=0)]
NonNegative = Annotated[float, Range(low=0)]
Fraction = Annotated[float, Range(low=0, high=1)]
Momentum = Annotated[float, Range(low=0, below=1)]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that the schema does not allow.

    Attributes:
        path: Where.
        message: What was found and what was expected.
        key: Whether the key is wrong, rather than its value.
    """

    path: Path
    message: str
    key: bool = False


@dataclass(slots=True)
class Report:
    """What came up while data was read.

    Attributes:
        problems: What is wrong.
        free: Paths of the mappings that the schema says nothing about.
    """

    problems: list[Problem] = field(default_factory=list)
    free: list[Path] = field(default_factory=list)


def field_types(cls: type[Any]) -> dict[str, Any]:
    """Return the fields of a dataclass with their types."""
    if cls not in _FIELDS:
        hints = typing.get_type_hints(cls, include_extras=True)
        _FIELDS[cls] = {one.name: hints[one.name] for one in dataclasses.fields(cls)}
    return _FIELDS[cls]


def build(cls: type[T], data: dict[Any, Any], path: Path, report: Report, without: Collection[str] = ()) -> T:
    """Make a dataclass of a mapping; what is wrong goes to the report and the default takes its place.

    Args:
        cls: The dataclass.
        data: What a file has for it.
        path: Where.
        report: Gets the problems.
        without: Fields that no file sets.
    """
    fields = {name: kind for name, kind in field_types(cls).items() if name not in without}
    values = {}
    for key, value in data.items():
        if not isinstance(key, str) or key not in fields:
            many = len(report.problems) >= _EXPLAINED
            expected = "" if many else nearest(str(key), fields) or f"; there are {', '.join(fields)}"
            report.problems.append(Problem((*path, key), f"unknown key{expected}", key=True))
            continue
        made = convert(fields[key], value, (*path, key), report)
        if made is not _INVALID:
            values[key] = made
    if lacking := [one for one in _required(cls) if one not in data]:
        report.problems.append(Problem(path, f"expected a key {lacking[0]!r}"))
    if any(one not in values for one in _required(cls)):
        return typing.cast("T", _INVALID)
    return cls(**values)


def _required(cls: type[Any]) -> list[str]:
    missing = dataclasses.MISSING
    return [one.name for one in dataclasses.fields(cls) if one.default is missing and one.default_factory is missing]


def convert(kind: Any, value: Any, path: Path, report: Report) -> Any:
    """Return ``value`` as the type ``kind`` asks for, or report what is wrong."""
    found = _convert(kind, value, path, report)
    if found is _INVALID and not (report.problems and report.problems[-1].path[: len(path)] == path):
        message = f"expected {describe(kind)}, found {show(value)}{_hint(kind, value)}"
        report.problems.append(Problem(path, message))
    return found


def _convert(kind: Any, value: Any, path: Path, report: Report) -> Any:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        return _first_fitting(args, value, path, report)
    if origin is Annotated:
        made = _convert(args[0], value, path, report)
        return made if made is _INVALID or args[1].holds(made) else _INVALID
    if origin is Literal:
        return next((choice for choice in args if type(choice) is type(value) and choice == value), _INVALID)
    if origin is list:
        return _list(args[0], value, path, report) if isinstance(value, list) else _INVALID
    if origin is dict:
        return _dict(args[1], value, path, report) if isinstance(value, dict) else _INVALID
    if dataclasses.is_dataclass(kind):
        return build(typing.cast("type[Any]", kind), value, path, report) if isinstance(value, dict) else _INVALID
    return _scalar(kind, value)


def _first_fitting(kinds: tuple[Any, ...], value: Any, path: Path, report: Report) -> Any:
    for kind in kinds:
        made = _convert(kind, value, path, report)
        if made is not _INVALID:
            return made
    return _INVALID


def _list(kind: Any, value: list[Any], path: Path, report: Report) -> Any:
    made = [convert(kind, one, (*path, number), report) for number, one in enumerate(value)]
    return _INVALID if any(one is _INVALID for one in made) else made


def _dict(kind: Any, value: dict[Any, Any], path: Path, report: Report) -> Any:
    if kind is Any:
        report.free.append(path)
        return value
    made = {key: convert(kind, one, (*path, key), report) for key, one in value.items()}
    return _INVALID if any(one is _INVALID for one in made.values()) else made


def _scalar(kind: Any, value: Any) -> Any:
    if kind is Any or (kind is type(None) and value is None):
        return value
    if kind is float:
        return _float(value)
    if kind is int:
        return _int(value)
    return value if type(value) is kind else _INVALID


def _int(value: Any) -> Any:
    """Return an integer; ``1e3``, which is never one in YAML, and 1000.0 are 1000."""
    if type(value) is int:
        return value
    number = _float(value) if type(value) is float or (isinstance(value, str) and "e" in value.lower()) else _INVALID
    return int(number) if number is not _INVALID and number == int(number) else _INVALID


def _float(value: Any) -> Any:
    if type(value) is float or type(value) is int or (isinstance(value, str) and NUMBER_TEXT.fullmatch(value)):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            return _INVALID
        return number if math.isfinite(number) else _INVALID
    return _INVALID


def plain_number(text: str) -> str:
    """Return a text that matches `NUMBER_TEXT` in a form that is a number in YAML 1.1 and 1.2."""
    if text.startswith("0o"):
        return str(int(text, 8))
    sign, digits = (text[0], text[1:]) if text[0] in "+-" else ("", text)
    mantissa, _, exponent = digits.lower().partition("e")
    whole, _, part = mantissa.partition(".")
    exponent = exponent if exponent[:1] in ("", "+", "-") else f"+{exponent}"
    return f"{sign}{whole or 0}.{part or 0}{exponent and 'e'}{exponent}"


def describe(kind: Any) -> str:
    """Return a type in words."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(describe(one) for one in args)
    if origin is Annotated:
        return f"{describe(args[0])} {args[1]}"
    if origin is Literal:
        return "one of " + ", ".join(map(repr, args))
    if origin is list:
        return f"a list, each {describe(args[0])}"
    if origin is dict or dataclasses.is_dataclass(kind):
        return "a mapping"
    words = {bool: "true or false", int: "an integer", float: "a number", str: "a text", type(None): "null"}
    return words.get(kind, "any value")


def show(value: Any) -> str:
    """Return a value as YAML would have it, cut short, with its type where that is not plain to see."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = repr(value) if isinstance(value, str | int | float) else str(value)
    text = text if len(text) <= 60 else text[:57] + "..."
    return f"the text {text}" if isinstance(value, str) else text


def _hint(kind: Any, value: Any) -> str:
    kinds = (kind, *typing.get_args(kind))
    choices = [choice for one in kinds if typing.get_origin(one) is Literal for choice in typing.get_args(one)]
    if isinstance(value, bool) and any(isinstance(choice, str) for choice in choices):
        return "; no, off, yes and on are texts only in quotes"
    if choices and isinstance(value, str):
        return nearest(str(value), [str(choice) for choice in choices])
    if isinstance(value, str) and NUMBER_TEXT.fullmatch(value) and str not in kinds:
        return "; without quotes it would be a number"
    if str in kinds and isinstance(value, int | float) and not isinstance(value, bool):
        return "; quotes make it a text"
    return ""
