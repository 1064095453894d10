from __future__ import annotations

import math
from datetime import date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.configs.leaves import flatten, key, unflatten

NAN = float("nan")


@pytest.mark.parametrize(
    ("document", "leaves"),
    [
        pytest.param({}, {}, id="empty"),
        pytest.param({"a": 1}, {("a",): 1}, id="scalar"),
        pytest.param({"a": {"b": None}}, {("a", "b"): None}, id="null is a value"),
        pytest.param({"a": [{"b": 1}]}, {("a",): [{"b": 1}]}, id="a list is one leaf"),
        pytest.param({"a": {}}, {("a",): {}}, id="an empty mapping is a leaf"),
        pytest.param({"a": []}, {("a",): []}, id="so is an empty list"),
        pytest.param({"a.b": 1, "a": {"b": 2}}, {("a.b",): 1, ("a", "b"): 2}, id="a dot in a key"),
        pytest.param({1: {"x": 2}}, {(1, "x"): 2}, id="a number as key"),
    ],
)
def test_flatten(document: dict, leaves: dict) -> None:
    assert flatten(document) == leaves
    assert unflatten(leaves) == document


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(1, 1.0, id="int and float"),
        pytest.param(1, True, id="int and bool"),
        pytest.param(0.0, -0.0, id="signed zero"),
        pytest.param("5e-5", 5e-5, id="text and number"),
        pytest.param([1], [1.0], id="inside a list"),
        pytest.param([{"a": 1}], [{"a": True}], id="inside a mapping in a list"),
        pytest.param([{1: "a"}], [{True: "a"}], id="keys of a mapping in a list"),
        pytest.param(None, "null", id="null and its text"),
        pytest.param({}, [], id="empty mapping and list"),
        pytest.param(date(2024, 1, 1), datetime(2024, 1, 1), id="date and time"),
    ],
)
def test_other_keys(first: object, second: object) -> None:
    assert key(first) != key(second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(NAN, math.nan * 2, id="nan"),
        pytest.param([{"a": 1, "b": 2}], [{"b": 2, "a": 1}], id="order inside a mapping"),
        pytest.param([1, [2]], [1, [2]], id="nested lists"),
        pytest.param({}, {}, id="empty mappings"),
    ],
)
def test_same_key(first: object, second: object) -> None:
    assert key(first) == key(second)
    assert hash(key(first)) == hash(key(second))


SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=3)
DOCUMENTS = st.recursive(
    st.dictionaries(st.text(max_size=3), SCALARS, max_size=3),
    lambda inner: st.dictionaries(st.text(max_size=3), SCALARS | inner | st.lists(SCALARS, max_size=2), max_size=3),
    max_leaves=12,
)


@given(DOCUMENTS)
def test_unflatten_undoes_flatten(document: dict) -> None:
    assert key(unflatten(flatten(document))) == key(document)
