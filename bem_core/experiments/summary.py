"""Runs to numbers: intervals over seeds, comparisons with a baseline. Pure: no files, nothing printed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bem_core.config import ExperimentConfig
from bem_core.evaluation import measured, metrics
from bem_core.evaluation.errors import StatisticsError
from bem_core.evaluation.gates import GateReport, check_experiment
from bem_core.evaluation.result import plain
from bem_core.evaluation.statistics import bootstrap_interval, compare, difference_interval, holm
from bem_core.experiments.jobs import FINISHED, check_baseline
from bem_core.experiments.results import Outcome

ALPHA = 0.05
_PREFIX = "eval_"


@dataclass(frozen=True, slots=True)
class Level:
    """A metric of an experiment over its seeds.

    Attributes:
        values: By seed; those that are not finite are left out.
        left_out: Seeds whose value is not finite.
        mean: None where no value is left.
        low: Of the BCa bootstrap interval of the mean; None with fewer than two values.
        high: The other bound.
        method: How the interval was found, as `statistics.Interval` says.
    """

    experiment: str
    metric: str
    values: dict[int, float]
    left_out: tuple[int, ...]
    mean: float | None
    std: float | None
    low: float | None
    high: float | None
    method: str


@dataclass(frozen=True, slots=True)
class Contrast:
    """A metric of an experiment against that of the baseline, on the seeds that both have.

    Attributes:
        difference: Mean of the differences, experiment minus baseline.
        low: Of the BCa bootstrap interval of the difference.
        p_value: Of the paired test.
        p_holm: Corrected for the number of all comparisons of the summary.
        least_p: The least corrected p-value that so many pairs and comparisons can give; None where there is no bound.
        verdict: ``better``, ``worse``, or ``no difference shown``; by `p_holm`, at 0.05.
        note: Why there is no test.
    """

    experiment: str
    baseline: str
    metric: str
    num_pairs: int
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    p_holm: float | None = None
    least_p: float | None = None
    verdict: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """What a series of experiments came to.

    Attributes:
        experiments: Names, in the order they were asked for.
        baseline: What they are compared with; None for nothing.
        confidence: Of all intervals.
        test: The paired test.
        gates: Quality gates and budget of each experiment, held against the means over seeds and against the baseline.
    """

    experiments: tuple[str, ...]
    baseline: str | None
    confidence: float
    test: str
    outcomes: tuple[Outcome, ...]
    levels: tuple[Level, ...]
    contrasts: tuple[Contrast, ...]
    gates: dict[str, GateReport]

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of all metrics, in the order in which the runs have them."""
        return tuple(dict.fromkeys(level.metric for level in self.levels))

    def level(self, experiment: str, metric: str) -> Level | None:
        """Return a metric of an experiment; None where it has no such metric."""
        return next((one for one in self.levels if (one.experiment, one.metric) == (experiment, metric)), None)

    def counts(self) -> dict[str, int]:
        """Return how many runs have each status."""
        found: dict[str, int] = {}
        for outcome in self.outcomes:
            found[outcome.status] = found.get(outcome.status, 0) + 1
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        outcomes = [dataclasses.asdict(one) for one in self.outcomes]
        for one in outcomes:
            del one["curves"]
        data: dict[str, Any] = plain(
            {
                "experiments": self.experiments,
                "baseline": self.baseline,
                "confidence": self.confidence,
                "test": self.test,
                "counts": self.counts(),
                "levels": [dataclasses.asdict(one) for one in self.levels],
                "comparisons": [dataclasses.asdict(one) for one in self.contrasts],
                "gates": {name: report.to_dict() for name, report in self.gates.items()},
                "runs": outcomes,
            }
        )
        return data


def summarize(
    outcomes: Sequence[Outcome],
    baseline: str | None = None,
    configs: Mapping[str, ExperimentConfig] | None = None,
    confidence: float = 0.95,
    test: str = "permutation",
) -> Summary:
    """Make the summary of runs.

    Args:
        outcomes: Of all runs, those that are not finished too.
        baseline: Name of the experiment that the others are compared with.
        configs: By experiment, for quality gates.
        confidence: Of the intervals.
        test: The paired test, by its name in `statistics.compare`.

    Raises:
        ExperimentsError: The baseline is none of the experiments.
    """
    names = tuple(dict.fromkeys(one.experiment for one in outcomes))
    check_baseline(baseline, names)
    levels = [level for name in names for level in _levels(name, outcomes, confidence)]
    contrasts = _corrected([*_contrasts(levels, baseline, confidence, test)], test)
    gates = {name: _gates(name, baseline, config, outcomes) for name, config in (configs or {}).items()}
    done = {one.experiment for one in outcomes if one.status == FINISHED}
    shown = {name: report for name, report in gates.items() if report.results and name in done}
    return Summary(names, baseline, confidence, test, tuple(outcomes), tuple(levels), tuple(contrasts), shown)


def lower_is_better(metric: str) -> bool:
    """Tell the direction of a metric by its name."""
    name = metric.removeprefix(_PREFIX)
    higher = metrics.higher_is_better(name)
    return measured.lower_is_better(name) if higher is None else not higher


def _levels(name: str, outcomes: Sequence[Outcome], confidence: float) -> Iterator[Level]:
    runs = [one for one in outcomes if one.experiment == name and one.status == FINISHED]
    for metric in dict.fromkeys(metric for run in runs for metric in run.metrics):
        found = {run.seed: run.metrics[metric] for run in runs if metric in run.metrics}
        values = {seed: value for seed, value in found.items() if math.isfinite(value)}
        left_out = tuple(seed for seed in found if seed not in values)
        yield _level(name, metric, values, left_out, confidence)


def _level(name: str, metric: str, values: dict[int, float], left_out: tuple[int, ...], confidence: float) -> Level:
    numbers = list(values.values())
    if len(numbers) < 2:
        mean = numbers[0] if numbers else None
        return Level(name, metric, values, left_out, mean, None, None, None, "one value" if numbers else "no value")
    found = bootstrap_interval(numbers, confidence=confidence)
    spread = float(np.std(numbers, ddof=1))
    return Level(name, metric, values, left_out, found.estimate, spread, found.low, found.high, found.method)


def _contrasts(levels: Sequence[Level], baseline: str | None, confidence: float, test: str) -> Iterator[Contrast]:
    base = {level.metric: level.values for level in levels if level.experiment == baseline}
    for level in levels:
        if baseline is None or level.experiment == baseline or level.metric not in base:
            continue
        seeds = [seed for seed in level.values if seed in base[level.metric]]
        ours, theirs = [level.values[seed] for seed in seeds], [base[level.metric][seed] for seed in seeds]
        place = Contrast(level.experiment, baseline, level.metric, len(seeds))
        yield _tested(place, ours, theirs, confidence, test)


def _tested(place: Contrast, ours: list[float], theirs: list[float], confidence: float, test: str) -> Contrast:
    if len(ours) < 2:
        difference = ours[0] - theirs[0] if ours else None
        return dataclasses.replace(place, difference=difference, note="a test needs two seeds that both have")
    interval = difference_interval(ours, theirs, confidence=confidence)
    known = dataclasses.replace(place, difference=interval.estimate, low=interval.low, high=interval.high)
    try:
        found = compare(ours, theirs, test)
    except StatisticsError as error:
        return dataclasses.replace(known, note=str(error))
    return dataclasses.replace(known, p_value=found.p_value)


def _corrected(contrasts: list[Contrast], test: str) -> list[Contrast]:
    """Return the comparisons with p-values corrected for how many were tested."""
    tested = [place for place, one in enumerate(contrasts) if one.p_value is not None]
    adjusted = holm([p for one in contrasts if (p := one.p_value) is not None], alpha=ALPHA)
    found = list(contrasts)
    for place, p_holm, rejected in zip(tested, adjusted.p_values, adjusted.rejected, strict=True):
        one = contrasts[place]
        least = _least_p(one.num_pairs, test, len(tested))
        found[place] = dataclasses.replace(one, p_holm=p_holm, least_p=least, verdict=_verdict(one, rejected))
    return found


def _least_p(num_pairs: int, test: str, num_tests: int) -> float | None:
    """Return the least corrected p-value: tests of signs see all differences on one side, two of the 2^n ways."""
    if test not in ("permutation", "wilcoxon"):
        return None
    return min(1.0, math.ldexp(2.0, -num_pairs) * num_tests)


def _verdict(contrast: Contrast, rejected: bool) -> str:
    if not rejected or not contrast.difference:
        return "no difference shown"
    return "better" if (contrast.difference < 0) == lower_is_better(contrast.metric) else "worse"


def _gates(name: str, baseline: str | None, config: ExperimentConfig, outcomes: Sequence[Outcome]) -> GateReport:
    base = _means(baseline, outcomes) if baseline not in (None, name) else None
    return check_experiment(config, _means(name, outcomes), base)


def _means(name: str | None, outcomes: Sequence[Outcome]) -> dict[str, float]:
    runs = [{**one.metrics, **one.measured} for one in outcomes if one.experiment == name and one.status == FINISHED]
    keys = dict.fromkeys(key for run in runs for key in run)
    return {key: float(np.mean([run[key] for run in runs if key in run])) for key in keys}
