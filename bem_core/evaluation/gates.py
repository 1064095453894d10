"""Quality gates and budgets of an experiment, held against what was measured."""

from __future__ import annotations

import dataclasses
import math
import operator
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bem_core.config.base_config import BudgetConfig, ExperimentConfig
from bem_core.evaluation import gate_rules, measured, metrics
from bem_core.evaluation.errors import EvaluationError
from bem_core.evaluation.gate_rules import Gate
from bem_core.evaluation.result import EvaluationResult

Values = EvaluationResult | Mapping[str, float]

# By how much a variant may differ from its baseline where the file has a baseline and no tolerance.
TOLERANCE = 0.05

PASS, FAIL, NOT_MEASURED = "pass", "fail", "not measured"

_OPS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt, "==": operator.eq}
_OVERHEAD = re.compile(r"(?P<what>compute|latency|memory)(_overhead)?_tolerance")
_OVERHEADS = {"compute": "flops", "latency": "latency_p50_ms", "memory": "vram"}


@dataclass(frozen=True, slots=True)
class GateResult:
    """What became of one gate.

    Attributes:
        key: Where it is written.
        metric: What it is about.
        status: ``pass``, ``fail`` or ``not measured``.
        bound: In words, such as ``<= +15%``; empty where it cannot be understood.
        value: What is held against the bound: the measurement, or the change against the baseline.
        reason: In words.
    """

    key: str
    metric: str
    status: str
    bound: str
    value: float | None
    reason: str

    def __str__(self) -> str:
        """Return one line."""
        return f"{self.status:<12}  {self.key}: {self.reason}"


@dataclass(frozen=True, slots=True)
class GateReport:
    """What became of all gates, in the order of the file."""

    results: tuple[GateResult, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every gate was measured and passed."""
        return all(one.status == PASS for one in self.results)

    def having(self, status: str) -> tuple[GateResult, ...]:
        """Return the gates with a status."""
        return tuple(one for one in self.results if one.status == status)

    def require(self) -> None:
        """Raise if a gate failed; one that was not measured does not.

        Raises:
            EvaluationError: It names each gate that failed.
        """
        failed = self.having(FAIL)
        if failed:
            raise EvaluationError("\n".join(f"{one.key}: {one.reason}" for one in failed))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        counts = {status.replace(" ", "_"): len(self.having(status)) for status in (PASS, FAIL, NOT_MEASURED)}
        return {"passed": self.passed, **counts, "gates": [dataclasses.asdict(one) for one in self.results]}

    def __str__(self) -> str:
        """Return a line a gate and one with the counts."""
        counts = ", ".join(f"{len(self.having(status))} {status}" for status in (PASS, FAIL, NOT_MEASURED))
        return "\n".join([*map(str, self.results), counts])


def check_gates(
    gates: Mapping[str, Any], found: Values, baseline: Values | None = None, section: str = "quality_gates"
) -> GateReport:
    """Hold gates against what was measured.

    Args:
        gates: A section such as ``quality_gates``; docs/evaluation.md says how it is read.
        found: Result of an evaluation, or numbers by name.
        baseline: The same of the baseline, for gates on changes.
        section: Key of the section, for the report.
    """
    return _check(gate_rules.read(gates, section), found, baseline)


def check_budget(budget: BudgetConfig, found: Values, baseline: Values | None = None) -> GateReport:
    """Hold a budget against what was measured.

    Parameters and floating-point operations must be as many as those of the baseline within the tolerance, to either
    side, since only models of equal cost can be compared; memory may be less. The tolerance is 5 % unless the budget
    has one. The baseline is what the budget says, else ``baseline``.

    Args:
        budget: The section ``budget`` of an experiment.
        found: Result of an evaluation, or numbers by name; `costs` counts parameters and operations.
        baseline: The same of the baseline.
    """
    memory = None if budget.baseline_memory_mb is None else budget.baseline_memory_mb * 1e6
    rows = (
        ("parameter_tolerance", "num_parameters", budget.parameter_tolerance, budget.baseline_params, "delta"),
        ("flops_tolerance", "flops", budget.flops_tolerance, budget.baseline_flops, "delta"),
        ("memory_tolerance", "vram", budget.memory_tolerance, memory, "increase"),
    )
    gates = []
    for key, name, tolerance, base, change in rows:
        if tolerance is not None or base is not None:
            bound, op = TOLERANCE if tolerance is None else tolerance, "within" if change == "delta" else "<="
            gates.append(Gate(f"budget.{key}", (name,), op, bound, change, "share", base))
    return _check([*gates, *_budget_params(budget)], found, baseline)


def _budget_params(budget: BudgetConfig) -> Iterable[Gate]:
    """Read the bounds among the parameters of components; the others are none."""
    for key, value in budget.params.items():
        overhead = _OVERHEAD.fullmatch(key)
        if overhead and isinstance(value, int | float):
            names = (_OVERHEADS[overhead["what"]],)
            yield Gate(f"budget.params.{key}", names, "<=", float(value), "increase", "share")
        elif key.startswith(("min_", "max_")):
            for gate in gate_rules.read({key: value}, "budget.params"):
                own = budget.baseline_params if gate.names == ("param",) else None
                yield dataclasses.replace(gate, baseline=own)


def check_experiment(config: ExperimentConfig, found: Values, baseline: Values | None = None) -> GateReport:
    """Hold the quality gates and the budget of an experiment against what was measured."""
    gates = check_gates(config.quality_gates, found, baseline)
    return GateReport((*gates.results, *check_budget(config.budget, found, baseline).results))


def _check(gates: Iterable[Gate], found: Values, baseline: Values | None) -> GateReport:
    values, base = _flat(found), None if baseline is None else _flat(baseline)
    return GateReport(tuple(_check_one(gate, values, base) for gate in gates))


def _flat(values: Values) -> dict[str, float]:
    if isinstance(values, EvaluationResult):
        return values.flat()
    # A trainer puts ``eval_`` in front of what an evaluation found.
    return {name.removeprefix("eval_"): value for name, value in values.items()} | dict(values)


def _check_one(gate: Gate, values: Mapping[str, float], baseline: Mapping[str, float] | None) -> GateResult:
    metric = gate.names[0] if gate.names else ""
    bound = "" if gate.problem else _bound_text(gate)
    value, reason = _value(gate, values, baseline)
    if value is None:
        return GateResult(gate.key, metric, NOT_MEASURED, bound, None, reason)
    holds = abs(value) <= gate.bound if gate.op == "within" else bool(_OPS[gate.op](value, gate.bound))
    holds = holds and not math.isnan(value)
    shown = f"{reason}, {bound} is {'met' if holds else 'not met'}"
    return GateResult(gate.key, metric, PASS if holds else FAIL, bound, value, shown)


def _value(gate: Gate, values: Mapping[str, float], baseline: Mapping[str, float] | None) -> tuple[float | None, str]:
    """Return what is held against the bound, and how it came about, or why there is nothing."""
    if gate.problem:
        return None, gate.problem
    if gate.change:
        for name in _change_names(gate):
            value = _look_up(name, gate.part, values)
            if value is not None:
                return value, f"{name} is {value:g}"
    for name in gate.names:
        value = _look_up(name, gate.part, values)
        if value is not None:
            return _changed(gate, name, value, baseline) if gate.change else _level(gate, name, value)
    where = f" in the slice {gate.part!r}" if gate.part else ""
    return None, f"there is no {' or '.join(map(repr, gate.names))}{where} among the results"


def _change_names(gate: Gate) -> list[str]:
    """Return the names of the change itself, which may have been measured as such."""
    suffix = {"%": "_pct", "share": None}.get(gate.unit, "")
    return [] if suffix is None else [f"{name}_{gate.change}{suffix}" for name in gate.names]


def _level(gate: Gate, name: str, value: float) -> tuple[float, str]:
    value = 100 * value if gate.unit == "%" and not name.endswith("_pct") else value
    return value, f"{name} is {value:g}{gate.unit}"


def _changed(gate: Gate, name: str, value: float, baseline: Mapping[str, float] | None) -> tuple[float | None, str]:
    base = gate.baseline if gate.baseline is not None else _look_up(name, gate.part, baseline or {})
    if base is None:
        return None, f"{name} is {value:g}, and there is no baseline to compare it with"
    if gate.unit and not base:
        return None, f"{name} is {value:g}, and a share of the baseline cannot be told because that is 0"
    difference = value - base
    falls = gate.change == "reduction" or (
        gate.change in ("improvement", "degradation") and _lower_is_better(gate, name)
    )
    difference = -difference if falls != (gate.change == "degradation") else difference
    if gate.unit:
        difference /= abs(base)
    difference = (100 * difference if gate.unit == "%" else difference) + 0.0  # Which turns -0.0 into 0.0.
    shown = f"{100 * difference:+.4g}%" if gate.unit == "share" else f"{difference:+.4g}{gate.unit}"
    return difference, f"{name} is {value:g} after {base:g}, {_word(gate)} {shown}"


def _word(gate: Gate) -> str:
    return "a difference of" if gate.change == "delta" else f"{gate.change} of"


def _lower_is_better(gate: Gate, name: str) -> bool:
    if gate.lower_is_better is not None:
        return gate.lower_is_better
    higher = metrics.higher_is_better(name)
    return measured.lower_is_better(name) if higher is None else not higher


def _look_up(name: str, part: str | None, values: Mapping[str, float]) -> float | None:
    prefix = f"{part}/" if part else ""
    for one in (name, metrics.canonical(name)):
        if prefix + one in values:
            return values[prefix + one]
    if not part and (value := measured.lookup(name, values)) is not None:
        return value
    if name.endswith("_pct"):
        share = _look_up(name.removesuffix("_pct"), part, values)
        return None if share is None else 100 * share
    return None


def _bound_text(gate: Gate) -> str:
    bound = 100 * gate.bound if gate.unit == "share" else gate.bound
    unit = "%" if gate.unit else ""
    if gate.op == "within":
        return f"within ±{bound:g}{unit}"
    return f"{gate.op} {bound:+g}{unit}" if gate.change else f"{gate.op} {bound:g}{unit}"
