"""Metrics over seeds: what is called equivalent, and what so few seeds can exclude."""

from __future__ import annotations

import numpy as np
import pytest

from migrate.verify.equivalence import compare_metrics

SEEDS = 8


def values(shift: float = 0.0, spread: float = 0.01, seed: int = 0) -> list[float]:
    rng = np.random.default_rng(seed)
    return (1 + shift + spread * rng.standard_normal(SEEDS)).tolist()


@pytest.mark.parametrize(
    ("shift", "margin", "equivalent"),
    [
        pytest.param(0.0, 0.05, True, id="same, wide margin"),
        pytest.param(0.0, 0.001, False, id="same, margin below the noise"),
        pytest.param(0.1, 0.05, False, id="shifted by more than the margin"),
        pytest.param(-0.1, 0.05, False, id="shifted the other way"),
        pytest.param(0.02, 0.1, True, id="shifted by less"),
    ],
)
def test_one_metric(shift: float, margin: float, equivalent: bool) -> None:
    (row,) = compare_metrics({"loss": values()}, {"loss": values(shift, seed=1)}, {"loss": margin})
    assert row.equivalent is equivalent
    assert (row.excludes < margin) == equivalent
    assert row.low <= row.difference <= row.high
    assert (row.num_seeds, row.interval) == (SEEDS, "BCa")


def test_the_smallest_margin_that_passes_is_what_the_seeds_exclude() -> None:
    pair = {"loss": values()}, {"loss": values(0.01, seed=1)}
    excludes = compare_metrics(*pair, {"loss": 1.0})[0].excludes
    assert compare_metrics(*pair, {"loss": excludes * 1.001})[0].equivalent
    assert not compare_metrics(*pair, {"loss": excludes * 0.999})[0].equivalent


def test_many_metrics_make_each_harder() -> None:
    one, other = values(), values(0.01, seed=1)
    margin = compare_metrics({"a": one}, {"a": other}, {"a": 1.0})[0].excludes * 1.02
    names = [f"metric {number}" for number in range(5)]
    alone = compare_metrics({"a": one}, {"a": other}, {"a": margin})
    many = compare_metrics(dict.fromkeys(names, one), dict.fromkeys(names, other), dict.fromkeys(names, margin))
    assert alone[0].equivalent
    assert not any(row.equivalent for row in many)
    assert many[0].p_holm == pytest.approx(5 * many[0].p_value)


def test_equal_values_are_equivalent() -> None:
    (row,) = compare_metrics({"loss": [0.1, 0.2, 0.3]}, {"loss": [0.1, 0.2, 0.3]}, {"loss": 1e-9})
    assert (row.equivalent, row.difference, row.interval) == (True, 0.0, "constant")
