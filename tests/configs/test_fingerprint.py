from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bem_core.config.merge import typed_equal
from migrate.configs.fingerprint import fingerprint

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2),
    st.sampled_from([0.0, -0.0, 1.0, math.nan, math.inf, "", "1", "a", "1:", "{}", "'", "a,b", "\ud800"]),
    st.sampled_from([date(2024, 1, 1), datetime(2024, 1, 1), NOON, NOON.replace(tzinfo=timezone(timedelta(0), "Z"))]),
    st.just(NOON.astimezone(timezone(timedelta(hours=1)))),
)
KEYS = st.sampled_from(["a", "b", "1", 1, 1.0, True, None, "a:", date(2024, 1, 1)])
VALUES = st.recursive(
    SCALARS, lambda below: st.lists(below, max_size=2) | st.dictionaries(KEYS, below, max_size=2), max_leaves=4
)
MAPPINGS = st.dictionaries(KEYS, VALUES, max_size=3)


def shuffled(value: Any) -> Any:
    """Return an equal value whose mappings have their keys the other way round."""
    if isinstance(value, dict):
        return {key: shuffled(item) for key, item in reversed(value.items())}
    return [shuffled(item) for item in value] if isinstance(value, list) else value


@given(MAPPINGS, MAPPINGS, st.booleans())
@example({"a": [1, "2"]}, {"a": ["1", 2]}, False)
@example({"a": ["b,c"]}, {"a": ["b", "c"]}, False)
def test_it_is_the_same_just_when_the_values_are(first: dict, second: dict, order: bool) -> None:
    assert (fingerprint(first, order) == fingerprint(second, order)) == typed_equal(first, second, order)


@given(MAPPINGS)
def test_the_order_of_keys_counts_only_when_it_is_to(data: dict) -> None:
    other = shuffled(data)
    assert fingerprint(data) == fingerprint(other)
    assert (fingerprint(data, order=True) == fingerprint(other, order=True)) == typed_equal(data, other, order=True)


@pytest.mark.parametrize("other", [{"a": 1.0}, {"a": True}, {"a": "1"}, {"a": [1]}, {"a": {"1": None}}, {1: "a"}, {}])
def test_other_values_have_another(other: dict) -> None:
    assert fingerprint(other) != fingerprint({"a": 1})
