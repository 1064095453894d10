"""What experiment files write as quality gates, read into bounds on what is measured."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from bem_core.config.schema import NUMBER_TEXT
from bem_core.evaluation import metrics

_BOUND = re.compile(r"(?P<low>min)(_(?P<a>.+))?|(?P<high>max)(_(?P<b>.+))?|(?P<c>.+)_(?P<end>min|max|limit)")
_CHANGE = re.compile(r"((?P<name>.+)_)?(?P<change>improvement|increase|degradation|drop|reduction|delta)(?P<pct>_pct)?")
_TEXT = re.compile(
    r"((?P<name>[A-Za-z_][\w /.-]*?)\s*)?(?P<op>>=|<=|==|[≥≤<>])\s*(?P<sign>[-+±]?)\s*"
    r"(?P<number>\d+(\.\d+)?)\s*(?P<pct>%)?"
)
_OPS = {"≥": ">=", "≤": "<="}
# What describes a group, and what it aims at without demanding it.
_CONTEXT = frozenset("enabled metric metrics target_metrics slice measure_on name description lower_is_better".split())


@dataclass(frozen=True, slots=True)
class Gate:
    """A bound on a measurement, or on how far it is from the baseline.

    Attributes:
        key: Where it is written.
        names: Names that the measurement may have, the most likely first; empty where none can be told.
        op: ``>=``, ``<=``, ``>``, ``<``, ``==``, or ``within`` for a distance to either side.
        bound: In the unit of the measurement; a share of 1 where `unit` is ``share``, percent where it is ``%``.
        change: What is bounded, if it is not the measurement itself: ``increase``, ``improvement``, ``degradation``,
            ``reduction`` or ``delta``, against the baseline.
        unit: ``%`` or ``share`` where the change is relative, or ``%`` where the measurement is a share itself.
        baseline: Value of the baseline, where the gate has one of its own.
        part: The slice of the test set.
        lower_is_better: Direction of an improvement; None to tell by the name.
        problem: Why it cannot be evaluated.
    """

    key: str
    names: tuple[str, ...] = ()
    op: str = ">="
    bound: float = 0.0
    change: str | None = None
    unit: str = ""
    baseline: float | None = None
    part: str | None = None
    lower_is_better: bool | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class _Group:
    """The mapping around a bound.

    Attributes:
        path: Its keys.
        named: The metrics that it names.
    """

    path: tuple[str, ...]
    named: tuple[str, ...] = ()
    part: str | None = None
    lower_is_better: bool | None = None

    def key(self, name: str) -> str:
        return ".".join((*self.path, name))

    def names(self, rest: str) -> list[tuple[str, ...]]:
        """Return the names of each measurement that a bound on ``rest`` may be about."""
        if not rest:
            own = re.sub(r"_(budget|improvement|threshold)$", "", self.path[-1])
            return [(name,) for name in self.named] or ([(own,)] if len(self.path) > 1 else [])
        if len(self.path) == 1:
            return [(rest,)]
        qualified = [f"{self.path[-1]}_{rest}", f"{self.path[-1].partition('_')[0]}_{rest}"]
        # A bound on accuracy in a group called contradiction_detection is not one on the accuracy of the test set.
        return [tuple(qualified if metrics.is_registered(rest) else [*qualified, rest])]


def read(gates: Mapping[str, Any], section: str = "quality_gates") -> list[Gate]:
    """Read a section of gates. What cannot be understood is a gate with a `Gate.problem`: nothing is guessed."""
    return [*_read_group(gates, _Group((section,)))]


def _read_group(data: Mapping[str, Any], around: _Group) -> Iterator[Gate]:
    if data.get("enabled") is False:
        return
    named = data.get("metrics") or data.get("target_metrics") or data.get("metric") or ()
    group = replace(
        around,
        named=tuple(map(str, named)) if isinstance(named, list | tuple) else (str(named),),
        part=data.get("slice") or data.get("measure_on") or around.part,
        lower_is_better=data.get("lower_is_better", around.lower_is_better),
    )
    found = [*_parity(data, group)]
    parity = bool(found)
    for key, value in data.items():
        if str(key) in _CONTEXT or str(key).startswith("target_") or (parity and _is_parity(str(key))):
            continue
        if isinstance(value, Mapping):
            found += _read_group(value, _Group((*group.path, str(key)), (), group.part, group.lower_is_better))
        else:
            found += _read_leaf(str(key), value, group)
    nested = any(isinstance(value, Mapping) for value in data.values())
    if not found and data and not nested and len(group.path) > 1:
        found = [Gate(".".join(group.path), group.named, problem="it gives no bound")]
    yield from found


def _is_parity(key: str) -> bool:
    return key.startswith("baseline_") or key in ("tolerance", "tolerance_pct")


def _parity(data: Mapping[str, Any], group: _Group) -> Iterator[Gate]:
    """Read ``baseline_x`` with a tolerance: x must be that near to it."""
    for key, unit in (("tolerance_pct", "%"), ("tolerance", "share")):
        bound = _number(data.get(key))
        if bound is None:
            continue
        for name, value in data.items():
            if str(name).startswith("baseline_"):
                names = (str(name).removeprefix("baseline_"),)
                yield Gate(group.key(str(name)), names, "within", bound, "delta", unit, _number(value))


def _read_leaf(key: str, value: Any, group: _Group) -> Iterator[Gate]:
    where = group.key(key)
    number = _number(value)
    if isinstance(value, bool):
        # What need not be true is no demand.
        if value:
            yield from (Gate(where, names, ">=", 1.0, part=group.part) for names in group.names(key))
    elif number is not None:
        yield from _read_number(key, number, group)
    elif isinstance(value, str):
        yield from _read_text(key, value, group)
    else:
        yield Gate(where, problem=f"{value!r:.60} is no bound")


def _read_number(key: str, bound: float, group: _Group) -> Iterator[Gate]:
    where, match = group.key(key), _BOUND.fullmatch(key)
    if not match:
        yield Gate(where, problem="its name says neither min nor max")
        return
    rest = match["a"] or match["b"] or match["c"] or ""
    op = ">=" if match["low"] or match["end"] == "min" else "<="
    change = _CHANGE.fullmatch(rest)
    several = group.names((change["name"] or "") if change else rest)
    if not several:
        yield Gate(where, problem="it names no metric")
    for names in several:
        gate = Gate(where, names, op, bound, part=group.part, lower_is_better=group.lower_is_better)
        yield _with_change(gate, change["change"], "%" if change["pct"] else "") if change else gate


def _with_change(gate: Gate, change: str, unit: str) -> Gate:
    two_sided = change == "delta" and gate.op == "<="
    change = "degradation" if change == "drop" else change
    return replace(gate, op="within" if two_sided else gate.op, change=change, unit=unit)


def _read_text(key: str, text: str, group: _Group) -> Iterator[Gate]:
    """Read ``p50 ≤ +15%``: a sign and percent are against the baseline, percent alone of a share."""
    where, match = group.key(key), _TEXT.fullmatch(text.strip())
    if not match:
        yield Gate(where, problem=f"the text {text!r:.60} is no comparison such as '>= 0.8' or '<= +15%'")
        return
    own = re.sub(r"_(delta|budget|increase)$", "", key)
    names = [(match["name"],)] if match["name"] else [*group.names("" if key == "requirement" else own)]
    bound = float(match["number"]) * (-1 if match["sign"] == "-" else 1)
    unit, op = match["pct"] or "", _OPS.get(match["op"], match["op"])
    change = {"": None, "-": "increase", "+": "increase", "±": "delta"}[match["sign"]] if unit else None
    if change == "delta":
        op = "within"
    if not names:
        yield Gate(where, problem="it names no metric")
    for one in names:
        yield Gate(where, one, op, bound, change, unit, part=group.part, lower_is_better=group.lower_is_better)


def _number(value: Any) -> float | None:
    """Return a number, also of a text such as ``1e-3``, which YAML 1.1 does not take for one."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and not NUMBER_TEXT.fullmatch(value):
        return None
    return float(value)
