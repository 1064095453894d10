from __future__ import annotations

import math
import pickle
import random
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bem_core.evaluation.sums import ExactSum, Mean

FINITE = st.floats(allow_nan=False, allow_infinity=False, width=64)


def total(*parts: list[float]) -> ExactSum:
    """Return the sum over shards, each sent through pickle as between processes."""
    found = ExactSum()
    for part in parts:
        shard = ExactSum()
        shard.add(part)
        found.merge(pickle.loads(pickle.dumps(shard.state())))
    return found


@given(st.lists(FINITE, max_size=30), st.randoms(use_true_random=False))
def test_shards_in_any_order_add_up_to_the_same_bits(values: list[float], rng: random.Random) -> None:
    exact = sum(map(Fraction, values), Fraction())
    try:
        expected = float(exact)
    except OverflowError:
        expected = math.inf if exact > 0 else -math.inf
    shuffled = rng.sample(values, len(values))
    cut = rng.randint(0, len(values))
    assert total(shuffled[:cut], [], shuffled[cut:]).value() == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1e308, 1e308, -1e308], 1e308),
        ([1.0, 1e100, 1.0, -1e100], 2.0),
        ([5e-324] * 3, 1.5e-323),
        ([True, 2, 0.5], 3.5),
        ([math.inf, 1.0], math.inf),
        ([], 0.0),
    ],
)
def test_terms_that_rounding_would_lose(values: list[float], expected: float) -> None:
    assert total(values).value() == expected


@pytest.mark.parametrize("parts", [([math.nan], [1.0]), ([math.inf], [-math.inf])])
def test_what_is_no_number_stays_none(parts: tuple[list[float], list[float]]) -> None:
    assert math.isnan(total(*parts).value())


def test_tensors_of_any_type_count_each_element() -> None:
    found = ExactSum()
    for number in range(200):
        found.add(torch.full((3,), 0.5, dtype=torch.bfloat16))
        found.add(torch.tensor(number))
        found.add(torch.tensor([[True, False]]))
        found.add(torch.tensor([0.25]), times=2)
    assert found.value() == 200 * 1.5 + 199 * 100 + 200 + 200 * 0.5


def test_a_mean_is_weighted_by_what_its_terms_stand_for() -> None:
    mean = Mean()
    mean.add(torch.tensor(3.0), 1, times=4)
    mean.add([1.0, 2.0], 2)
    assert mean.value() == (12 + 3) / 6
    assert math.isnan(Mean().value())
