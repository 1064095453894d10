from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bem_core.evaluation import statistics
from bem_core.evaluation.errors import StatisticsError

# Student's sleep data (1908), hours gained with two drugs by ten patients; t = -4.0621, p = 0.002833 in R's ?t.test.
FIRST = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
SECOND = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]


def test_t_of_the_sleep_data() -> None:
    found = statistics.compare(FIRST, SECOND, "t")
    assert (found.difference, found.num_pairs) == (pytest.approx(-1.58), 10)
    assert found.statistic == pytest.approx(-4.0621, abs=5e-5)
    assert found.p_value == pytest.approx(0.002833, abs=5e-7)
    assert statistics.compare(FIRST, SECOND, "t", alternative="less").p_value == pytest.approx(found.p_value / 2)


@pytest.mark.parametrize("test", ["permutation", "wilcoxon"])
def test_few_pairs_are_counted_out(test: str) -> None:
    # Of the 2 ** 5 ways to give signs to 1, 2, 3, 4, 5, one has a sum of 15 and one of -15; 1 + 2 + 3 ... without
    # the 1 there is one more way on each side.
    zero = [0.0] * 5
    assert statistics.compare([1, 2, 3, 4, 5], zero, test).p_value == 2 / 32
    assert statistics.compare([1, 2, 3, 4, 5], zero, test, alternative="greater").p_value == 1 / 32
    assert statistics.compare([-1, 2, 3, 4, 5], zero, test, alternative="greater").p_value == 2 / 32


@pytest.mark.parametrize("test", statistics.TESTS)
def test_no_difference_at_all(test: str) -> None:
    found = statistics.compare([1, 2, 3], [1, 2, 3], test)
    assert (found.difference, found.p_value) == (0, 1)


@pytest.mark.parametrize("test", ["t", "bootstrap"])
def test_the_same_difference_everywhere_has_no_spread(test: str) -> None:
    # In floating point the differences are 0.1 but for their last bits.
    first, second = [0.4, 1.1, 7.3], [0.3, 1.0, 7.2]
    with pytest.raises(StatisticsError, match=r"all 3 differences are 0\.1, .* use 'permutation'"):
        statistics.compare(first, second, test)
    assert statistics.compare(first, second, "permutation").p_value == 2 / 8
    assert statistics.compare(first, second, "wilcoxon").p_value == 2 / 8


def test_holm_and_benjamini_hochberg_by_hand() -> None:
    p_values = [0.01, 0.04, 0.03, 0.005]
    holm = statistics.holm(p_values)
    # 4 * 0.005, 3 * 0.01, 2 * 0.03, then no less than that.
    assert holm.p_values == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm.rejected == (True, False, False, True)
    found = statistics.benjamini_hochberg(p_values)
    # 4 / 1 * 0.005, 4 / 2 * 0.01, 4 / 3 * 0.03, 4 / 4 * 0.04.
    assert found.p_values == pytest.approx((0.02, 0.04, 0.04, 0.02))
    assert found.rejected == (True, True, True, True)


def test_the_example_of_benjamini_and_hochberg() -> None:
    """Section 3.2 of their paper: 15 hypotheses, of which they reject four, and Bonferroni three."""
    p_values = [
        *(0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344),
        *(0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0000),
    ]
    assert sum(statistics.benjamini_hochberg(p_values).rejected) == 4
    assert sum(statistics.holm(p_values).rejected) == 3


@given(st.lists(st.floats(0, 1), max_size=20), st.randoms(use_true_random=False))
def test_corrections_keep_order_and_never_lower(p_values: list[float], rng: Any) -> None:
    for correct in (statistics.holm, statistics.benjamini_hochberg):
        found = correct(p_values)
        assert all(
            one >= before or math.isclose(one, before) for one, before in zip(found.p_values, p_values, strict=True)
        )
        assert all(0 <= one <= 1 for one in found.p_values)
        order = rng.sample(range(len(p_values)), len(p_values))
        shuffled = correct([p_values[number] for number in order])
        assert list(shuffled.p_values) == [found.p_values[number] for number in order]


def test_equivalence_decides_as_its_interval() -> None:
    # Mean 0, standard deviation 1 over 4 pairs scaled: t with 3 degrees of freedom, 95 % quantile 2.3534.
    first = [1.0, -1.0, 1.0, -1.0]
    error = math.sqrt(4 / 3) / 2
    found = statistics.equivalence(first, [0.0] * 4, 2.5)
    assert (found.low, found.high) == pytest.approx((-2.3534 * error, 2.3534 * error), abs=1e-3)
    assert not statistics.equivalence(first, [0.0] * 4, found.high - 1e-9).equivalent
    assert statistics.equivalence(first, [0.0] * 4, found.high + 1e-9).equivalent
    assert statistics.equivalence(first, [0.0] * 4, found.high).p_value == pytest.approx(0.05)


@pytest.mark.parametrize(("shift", "p_value"), [(0.0, 0.0), (0.4, 0.0), (0.6, 1.0)])
def test_equivalence_without_spread(shift: float, p_value: float) -> None:
    found = statistics.equivalence([1 + shift, 2 + shift], [1, 2], 0.5)
    assert (found.p_value, found.equivalent) == (p_value, p_value == 0)


def test_intervals_that_are_not_bca_say_so() -> None:
    same = statistics.bootstrap_interval([2.0, 2.0, 2.0])
    assert (same.low, same.high, same.method) == (2, 2, "constant")
    # The median of every resample is at least that of the values, so BCa is not defined.
    found = statistics.bootstrap_interval([0, 0, 0, 0, 1.0], np.median)
    assert (found.estimate, found.low, found.high, found.method) == (0, 0, 1, "percentile")


def test_a_seed_makes_an_interval() -> None:
    one, again, other = (statistics.bootstrap_interval(FIRST, seed=seed, num_resamples=500) for seed in (1, 1, 2))
    assert one == again != other
    assert one.low < one.estimate < one.high


def test_a_difference_interval_is_one_of_pairs() -> None:
    found = statistics.difference_interval(FIRST, SECOND)
    assert (found.estimate, found.num_values) == (pytest.approx(-1.58), 10)
    # Narrow as the differences are, and not as wide as the patients differ; R's t interval is -2.46 to -0.70.
    assert -2.8 < found.low < -2.1 < -1.2 < found.high < -0.6


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: statistics.bootstrap_interval([1.0]), "values: 1 given, at least 2 are needed"),
        (lambda: statistics.bootstrap_interval([]), "values: 0 given"),
        (lambda: statistics.bootstrap_interval([1, math.nan]), "values: number 1 is nan"),
        (lambda: statistics.bootstrap_interval([[1, 2]]), "expected a list of numbers, found 2 dimensions"),  # type: ignore[list-item]
        (lambda: statistics.bootstrap_interval([1, 2], confidence=95), "confidence is 95"),
        (lambda: statistics.bootstrap_interval([1, 2], num_resamples=0), "num_resamples is 0"),
        (lambda: statistics.compare([1, 2], [1, 2, 3]), "2 values cannot be paired with 3"),
        (lambda: statistics.compare([1, math.inf], [1, 2]), "first: number 1 is inf"),
        (lambda: statistics.compare([1, 2], [1, 2], "tt"), "unknown test 'tt'"),
        (lambda: statistics.compare([1, 2], [1, 2], "wilcoxn"), "did you mean 'wilcoxon'"),
        (lambda: statistics.compare([1, 2], [1, 2], alternative="more"), "unknown alternative 'more'"),  # type: ignore[arg-type]
        (lambda: statistics.equivalence([1, 2], [1, 2], 0), "the margin is 0"),
        (lambda: statistics.equivalence([1, 2], [1, 2], math.nan), "the margin is nan"),
        (lambda: statistics.holm([0.1, 1.5]), "p-value 1 is 1.5"),
        (lambda: statistics.benjamini_hochberg([math.nan]), "p-values: number 0 is nan"),
    ],
)
def test_what_cannot_be_computed(call: Any, message: str) -> None:
    with pytest.raises(StatisticsError, match=message):
        call()


def test_nothing_to_correct() -> None:
    assert statistics.holm([]).p_values == statistics.benjamini_hochberg([]).p_values == ()


# Simulations at fixed seeds. With n runs a share is off by at most 2.6 * sqrt(p * (1 - p) / n) in 99 of 100 cases.
RUNS = 400


def share(holds: Any, runs: int = RUNS) -> float:
    return sum(bool(holds(np.random.default_rng(seed), seed)) for seed in range(runs)) / runs


def test_intervals_cover_the_mean_of_a_skewed_distribution() -> None:
    def covers(rng: np.random.Generator, seed: int) -> bool:
        found = statistics.bootstrap_interval(rng.exponential(size=40), num_resamples=600, seed=seed)
        return found.low <= 1 <= found.high

    assert 0.90 <= share(covers) <= 0.975


@pytest.mark.parametrize("test", statistics.TESTS)
def test_a_test_rejects_no_more_often_than_it_says(test: str) -> None:
    def rejects(rng: np.random.Generator, seed: int) -> bool:
        first, second = rng.normal(size=(2, 20))
        return statistics.compare(first, second, test, num_resamples=300, seed=seed).p_value <= 0.05

    # The bootstrap is known to reject a little too often with 20 pairs.
    assert 0.02 <= share(rejects) <= (0.10 if test == "bootstrap" else 0.08)


@pytest.mark.parametrize("test", statistics.TESTS)
def test_a_test_finds_a_difference_of_one_deviation(test: str) -> None:
    def rejects(rng: np.random.Generator, seed: int) -> bool:
        first, second = rng.normal(size=(2, 20)) / math.sqrt(2)
        return statistics.compare(first + 1, second, test, num_resamples=300, seed=seed).p_value <= 0.05

    assert share(rejects, 100) >= 0.95


def test_equivalence_at_the_margin_is_rare() -> None:
    def found(shift: float) -> float:
        return share(lambda rng, _: statistics.equivalence(rng.normal(shift, 1, 30), np.zeros(30), 1.0).equivalent)

    assert 0.02 <= found(1.0) <= 0.08
    assert found(0.0) >= 0.99


def test_corrections_hold_their_rates() -> None:
    def p_values(rng: np.random.Generator, null: int, real: int) -> Any:
        return np.concatenate([rng.uniform(size=null), rng.uniform(size=real) ** 6])

    family = share(lambda rng, _: any(statistics.holm(p_values(rng, 20, 0)).rejected))
    assert 0.02 <= family <= 0.08
    shares = []
    for seed in range(RUNS):
        rejected = statistics.benjamini_hochberg(p_values(np.random.default_rng(seed), 15, 5), alpha=0.2).rejected
        shares.append(sum(rejected[:15]) / max(sum(rejected), 1))
    # At most alpha times the share of true null hypotheses: 0.2 * 15 / 20.
    assert 0.09 <= sum(shares) / RUNS <= 0.19
