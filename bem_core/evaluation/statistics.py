"""Intervals, tests and corrections for comparing runs, by scipy.

What cannot be computed is an error or a result that says so, never a nan.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from bem_core.errors import nearest
from bem_core.evaluation.errors import StatisticsError

Alternative = Literal["two-sided", "greater", "less"]
Array = np.ndarray[Any, np.dtype[np.float64]]
Statistic = Callable[..., Any]

TESTS = ("t", "wilcoxon", "permutation", "bootstrap")
_ALTERNATIVES = ("two-sided", "greater", "less")


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval.

    Attributes:
        estimate: The statistic of the values themselves.
        method: ``BCa``; ``percentile`` where BCa is not defined because all resamples are on one side of the estimate;
            ``constant`` where all values are equal, which tells nothing about the spread.
    """

    estimate: float
    low: float
    high: float
    confidence: float
    num_values: int
    method: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Outcome of a paired test.

    Attributes:
        difference: Mean of the differences, first minus second.
        p_value: Probability of a difference at least as far, if there were none in truth.
        statistic: The test statistic; the mean difference for resampling tests.
    """

    test: str
    difference: float
    p_value: float
    statistic: float
    num_pairs: int
    alternative: str


@dataclass(frozen=True, slots=True)
class Equivalence:
    """Outcome of two one-sided tests (TOST).

    Attributes:
        difference: Mean of the differences, first minus second.
        p_value: The greater of the two; small where the true difference is inside the margin.
        low: Lower bound of the interval with confidence ``1 - 2 * alpha`` that decides the same.
        high: Its upper bound.
        equivalent: Whether ``p_value`` is below ``alpha``.
    """

    difference: float
    p_value: float
    low: float
    high: float
    margin: float
    alpha: float
    num_pairs: int
    equivalent: bool


@dataclass(frozen=True, slots=True)
class Adjusted:
    """p-values corrected for their number.

    Attributes:
        p_values: In the order of the input.
        rejected: Which are at most ``alpha``.
    """

    method: str
    p_values: tuple[float, ...]
    rejected: tuple[bool, ...]
    alpha: float


def bootstrap_interval(
    values: Sequence[float],
    statistic: Statistic = np.mean,
    *,
    confidence: float = 0.95,
    num_resamples: int = 9999,
    seed: int = 0,
) -> Interval:
    """Return a bias-corrected and accelerated bootstrap interval (Efron 1987) of a statistic.

    Args:
        values: Independent values, such as one for each seed.
        statistic: Takes an array and ``axis``.
        confidence: Of the interval, two-sided.
        num_resamples: Resamples with replacement.
        seed: Of the resampling.

    Raises:
        StatisticsError: There are fewer than two values, or one is not finite.
    """
    from scipy.stats import bootstrap

    _check_fraction("confidence", confidence)
    _check_resamples(num_resamples)
    array = _finite(values, "values", at_least=2)
    estimate = float(statistic(array, axis=-1))
    if np.ptp(array) == 0:
        return Interval(estimate, estimate, estimate, confidence, len(array), "constant")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # DegenerateDataWarning; the nan that it announces is looked for below.
        found = bootstrap(
            (array,),
            statistic,
            n_resamples=num_resamples,
            confidence_level=confidence,
            method="BCa",
            vectorized=True,
            batch=_rows(array),
            rng=np.random.default_rng(seed),
        )
    low, high = (float(bound) for bound in found.confidence_interval)
    if np.isfinite([low, high]).all():
        return Interval(estimate, low, high, confidence, len(array), "BCa")
    tail = (1 - confidence) / 2
    low, high = (float(bound) for bound in np.quantile(found.bootstrap_distribution, [tail, 1 - tail]))
    return Interval(estimate, low, high, confidence, len(array), "percentile")


def difference_interval(first: Sequence[float], second: Sequence[float], **options: Any) -> Interval:
    """Return the `bootstrap_interval` of the mean difference of pairs, first minus second.

    Raises:
        StatisticsError: The lengths differ, or the values are not fit for `bootstrap_interval`.
    """
    return bootstrap_interval(_differences(first, second, at_least=2).tolist(), **options)


def compare(
    first: Sequence[float],
    second: Sequence[float],
    test: str = "permutation",
    *,
    alternative: Alternative = "two-sided",
    num_resamples: int = 9999,
    seed: int = 0,
) -> Comparison:
    """Test whether paired values differ, such as two models on the same samples or seeds.

    ``t`` is Student's paired test; ``wilcoxon`` the signed-rank test, zero differences left out; ``permutation`` flips
    the signs of differences, all ways of it where there are at most ``num_resamples``; ``bootstrap`` resamples the
    centred differences (Efron and Tibshirani 1993, section 16.4), and rejects too often with few pairs. Where all
    differences are zero, the p-value is 1.

    Args:
        first: Values of the one.
        second: Values of the other, in the same order.
        test: One of the four.
        alternative: ``greater`` where the first is expected to be.
        num_resamples: Of the last two tests.
        seed: Of the last two tests.

    Raises:
        StatisticsError: The lengths differ, there are fewer than two pairs, a value is not finite, or all differences
            are the same and the test needs some spread.
    """
    if test not in TESTS:
        raise StatisticsError(f"unknown test {test!r}{nearest(test, TESTS) or '; there are ' + ', '.join(TESTS)}")
    if alternative not in _ALTERNATIVES:
        raise StatisticsError(f"unknown alternative {alternative!r}; there are {', '.join(_ALTERNATIVES)}")
    _check_resamples(num_resamples)
    differences = _differences(first, second, at_least=2)
    mean, size = float(differences.mean()), len(differences)
    if not differences.any():
        return Comparison(test, 0.0, 1.0, 0.0, size, alternative)
    if np.ptp(differences) == 0 and test in ("t", "bootstrap"):
        raise StatisticsError(
            f"all {size} differences are {mean:g}, so the test {test!r} has no spread to judge by; use 'permutation'"
        )
    if test in ("t", "wilcoxon"):
        statistic, p_value = _classical(differences, test, alternative)
    else:
        resample = _permutation if test == "permutation" else _centred_bootstrap
        statistic, p_value = mean, resample(differences, alternative, num_resamples, seed)
    return Comparison(test, mean, p_value, statistic, size, alternative)


def _classical(differences: Array, test: str, alternative: Alternative) -> tuple[float, float]:
    from scipy.stats import ttest_1samp, wilcoxon

    if test == "t":
        found = ttest_1samp(differences, 0.0, alternative=alternative)
    else:
        found = wilcoxon(differences, alternative=alternative)
    return float(found.statistic), float(found.pvalue)


def _permutation(differences: Array, alternative: Alternative, num_resamples: int, seed: int) -> float:
    from scipy.stats import permutation_test

    found = permutation_test(
        (differences,),
        lambda sample, axis: np.mean(sample, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=num_resamples,
        batch=_rows(differences),
        alternative=alternative,
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)


def _centred_bootstrap(differences: Array, alternative: Alternative, num_resamples: int, seed: int) -> float:
    rng, mean = np.random.default_rng(seed), differences.mean()
    centred = differences - mean
    means = np.array([centred[rng.integers(0, len(centred), len(centred))].mean() for _ in range(num_resamples)])
    if alternative == "two-sided":
        extreme = np.abs(means) >= abs(mean)
    else:
        extreme = means >= mean if alternative == "greater" else means <= mean
    # The observed sample counts as one more, so that no p-value is zero (Davison and Hinkley 1997, section 4.2.1).
    return float((extreme.sum() + 1) / (num_resamples + 1))


def equivalence(first: Sequence[float], second: Sequence[float], margin: float, *, alpha: float = 0.05) -> Equivalence:
    """Test whether the mean difference of pairs is within ``-margin`` and ``margin`` (Schuirmann 1987).

    Where all differences are the same there is nothing to estimate: the p-value is 0 inside the margin and 1 outside.

    Raises:
        StatisticsError: The lengths differ, there are fewer than two pairs, a value is not finite, or the margin is not
            positive.
    """
    from scipy.stats import ttest_1samp

    _check_fraction("alpha", alpha)
    if not margin > 0 or not np.isfinite(margin):
        raise StatisticsError(f"the margin is {margin:g}; expected a number above 0")
    differences = _differences(first, second, at_least=2)
    mean, size = float(differences.mean()), len(differences)
    if np.ptp(differences) == 0:
        inside = abs(mean) < margin
        return Equivalence(mean, 0.0 if inside else 1.0, mean, mean, margin, alpha, size, inside)
    above = ttest_1samp(differences, -margin, alternative="greater")
    below = ttest_1samp(differences, margin, alternative="less")
    p_value = float(max(above.pvalue, below.pvalue))
    low, high = ttest_1samp(differences, 0.0).confidence_interval(1 - 2 * alpha)
    return Equivalence(mean, p_value, float(low), float(high), margin, alpha, size, p_value < alpha)


def holm(p_values: Sequence[float], *, alpha: float = 0.05) -> Adjusted:
    """Correct p-values so that any false rejection has probability at most ``alpha`` (Holm 1979).

    Raises:
        StatisticsError: A p-value is not between 0 and 1.
    """
    array = _p_values(p_values, alpha)
    order = np.argsort(array, kind="stable")
    adjusted = np.empty_like(array)
    factors = np.arange(len(array), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(array[order] * factors), 1.0)
    return _adjusted("holm", adjusted, alpha)


def benjamini_hochberg(p_values: Sequence[float], *, alpha: float = 0.05) -> Adjusted:
    """Correct p-values so that at most a share of ``alpha`` of the rejections is false (Benjamini and Hochberg 1995).

    Raises:
        StatisticsError: A p-value is not between 0 and 1.
    """
    from scipy.stats import false_discovery_control

    array = _p_values(p_values, alpha)
    return _adjusted("benjamini_hochberg", false_discovery_control(array) if len(array) else array, alpha)


def _adjusted(method: str, p_values: Array, alpha: float) -> Adjusted:
    return Adjusted(method, tuple(p_values.tolist()), tuple((p_values <= alpha).tolist()), alpha)


def _p_values(p_values: Sequence[float], alpha: float) -> Array:
    _check_fraction("alpha", alpha)
    array = _finite(p_values, "p-values", at_least=0)
    for number, value in enumerate(array):
        if not 0 <= value <= 1:
            raise StatisticsError(f"p-value {number} is {value:g}; expected a number from 0 to 1")
    return array


def _rows(values: Array) -> int:
    """Return how many resamples to hold at once: all of them would be as many copies of the values."""
    return max(1, 2**22 // len(values))


def _check_resamples(number: int) -> None:
    if number < 1:
        raise StatisticsError(f"num_resamples is {number}; expected a number above 0")


def _check_fraction(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise StatisticsError(f"{name} is {value:g}; expected a number between 0 and 1")


def _differences(first: Sequence[float], second: Sequence[float], *, at_least: int) -> Array:
    one, other = _finite(first, "first", at_least=at_least), _finite(second, "second", at_least=at_least)
    if len(one) != len(other):
        raise StatisticsError(f"{len(one)} values cannot be paired with {len(other)}")
    differences = one - other
    # Equal differences of decimal fractions differ in their last bits, which is no spread.
    rounding = 4 * np.finfo(np.float64).eps * max(np.abs(one).max(), np.abs(other).max())
    if np.ptp(differences) <= rounding:
        mean = differences.mean()
        return np.full(len(differences), mean if abs(mean) > rounding else 0.0)
    return differences


def _finite(values: Sequence[float], name: str, *, at_least: int) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise StatisticsError(f"{name}: expected a list of numbers, found {array.ndim} dimensions")
    if len(array) < at_least:
        raise StatisticsError(f"{name}: {len(array)} given, at least {at_least} are needed")
    bad = np.flatnonzero(~np.isfinite(array))
    if len(bad):
        raise StatisticsError(f"{name}: number {bad[0]} is {array[bad[0]]:g}; expected finite numbers")
    return array
