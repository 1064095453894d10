"""Inheritance: what an overlay does to its base, and that the overlay found for a result gives that result."""

from __future__ import annotations

import datetime
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bem_core.config.merge import (
    DirectiveError,
    Directives,
    combine,
    disagreements,
    escape,
    leaves,
    merge,
    overlay,
    typed_equal,
)

MERGES = [
    pytest.param({"a": 1}, {}, {"a": 1}, id="nothing"),
    pytest.param({"a": 1}, {"a": 2}, {"a": 2}, id="scalar replaces scalar"),
    pytest.param({"a": 1}, {"a": None}, {"a": None}, id="null is a value"),
    pytest.param({"a": None}, {"a": {"b": 1}}, {"a": {"b": 1}}, id="mapping replaces null"),
    pytest.param({"a": {"b": 1}}, {"a": None}, {"a": None}, id="null replaces mapping"),
    pytest.param({"a": [1, 2]}, {"a": [3]}, {"a": [3]}, id="list replaces list"),
    pytest.param({"a": [1]}, {"a": []}, {"a": []}, id="empty list replaces list"),
    pytest.param({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}}, {"a": {"b": 1, "c": 3}}, id="mappings merge deep"),
    pytest.param({"a": {"b": 1}}, {"a": {}}, {"a": {"b": 1}}, id="empty mapping over mapping changes nothing"),
    pytest.param({"a": 1}, {"a": {}}, {"a": {}}, id="empty mapping replaces scalar"),
    pytest.param({"a": 1}, {"a": {"b": 2}}, {"a": {"b": 2}}, id="mapping replaces scalar"),
    pytest.param({"a": {"b": 1}}, {"a": 2}, {"a": 2}, id="scalar replaces mapping"),
    pytest.param({"a": [{"b": 1}]}, {"a": {"b": 2}}, {"a": {"b": 2}}, id="mapping replaces list"),
    pytest.param({"a": 1, "b": 2}, {"_delete_": ["a"]}, {"b": 2}, id="delete one key"),
    pytest.param({"a": {"b": 1, "c": 2}}, {"a": {"_delete_": ["b"]}}, {"a": {"c": 2}}, id="delete below"),
    pytest.param({"a": {"b": 1}}, {"a": {"_delete_": ["b"]}}, {"a": {}}, id="delete the last key"),
    pytest.param({"a": {"b": 1}}, {"a": {"_delete_": True, "c": 2}}, {"a": {"c": 2}}, id="delete all, then set"),
    pytest.param({"a": {"b": 1}}, {"a": {"_delete_": True}}, {"a": {}}, id="delete all"),
    pytest.param({"a": 1}, {"_delete_": True, "b": 2}, {"b": 2}, id="delete all at the top"),
    pytest.param({"b": 1}, {"a": {"_delete_": True, "c": 2}}, {"b": 1, "a": {"c": 2}}, id="delete all of nothing"),
    pytest.param({"a": {"b": 1}, "c": 2}, {"_delete_": ["a"], "a": {"d": 3}}, {"c": 2, "a": {"d": 3}}, id="set again"),
    pytest.param({"a": {}}, {"_delete_": []}, {"a": {}}, id="delete nothing"),
    pytest.param({"a": 1}, {"base_config": "x.yaml", "b": 2}, {"a": 1, "b": 2}, id="base left out"),
    pytest.param({}, {"a": {"base_config": "x"}}, {"a": {"base_config": "x"}}, id="base below the top is data"),
    pytest.param({}, {"base_config_": 1}, {"base_config": 1}, id="escaped base"),
    pytest.param({}, {"base_config__": 1}, {"base_config_": 1}, id="escaped twice"),
    pytest.param({}, {"a": {"base_config_": 1}}, {"a": {"base_config_": 1}}, id="no escape where it is data"),
    pytest.param({}, {"a": {"_delete__": [1]}}, {"a": {"_delete_": [1]}}, id="escaped delete"),
    pytest.param({"_delete_": 1}, {"_delete_": ["_delete_"]}, {}, id="delete the key of that name"),
    pytest.param({}, {"a": [{"_delete_": [1]}]}, {"a": [{"_delete_": [1]}]}, id="no directives inside lists"),
    pytest.param({1: "a"}, {True: "b"}, {True: "b"}, id="an equal key of another type takes its place"),
    pytest.param({1: "a", None: "b"}, {"_delete_": [1], None: "c"}, {None: "c"}, id="keys that are no texts"),
    pytest.param({"b": 1, "a": 2}, {"c": 3, "a": 4, "d": 5}, {"b": 1, "a": 4, "c": 3, "d": 5}, id="order of keys"),
]


@pytest.mark.parametrize(("base", "over", "expected"), MERGES)
def test_merge(base: dict[Any, Any], over: dict[Any, Any], expected: dict[Any, Any]) -> None:
    before = repr((base, over))
    assert typed_equal(merge(base, over), expected, order=True)
    assert repr((base, over)) == before


@pytest.mark.parametrize(
    ("base", "over", "words"),
    [
        pytest.param({"a": 1}, {"_delete_": ["b"]}, ["'b'", "no base sets"], id="absent key"),
        pytest.param({"a": {"b": {}}}, {"a": {"b": {"_delete_": ["c"]}}}, ["a.b:", "'c'"], id="says where"),
        pytest.param({1: 1}, {"_delete_": [True]}, ["True"], id="key of another type"),
        pytest.param({"a": 1}, {"_delete_": "a"}, ["true or a list", "'_delete__'"], id="text"),
        pytest.param({"a": 1}, {"_delete_": False}, ["true or a list"], id="false"),
        pytest.param({"a": 1}, {"_delete_": [["a"]]}, ["['a']"], id="list in the list"),
    ],
)
def test_bad_directives(base: dict[Any, Any], over: dict[Any, Any], words: list[str]) -> None:
    with pytest.raises(DirectiveError) as error:
        merge(base, over)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_directives_have_other_names() -> None:
    names = Directives(base="extends", delete="$drop")
    over = {"extends": "x", "$drop": ["a"], "base_config": 1, "_delete_": [2], "$drop_": 3, "extends_": 4}
    expected = {"base_config": 1, "_delete_": [2], "$drop": 3, "extends": 4}
    assert merge({"a": 1}, over, names) == expected
    assert overlay({}, expected, names) == {key: over[key] for key in over if key not in ("extends", "$drop")}


def test_directives_that_escape_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="differ"):
        Directives(base="x", delete="x_")


OVERLAYS = [
    pytest.param({"a": 1}, {"a": 1}, {}, id="equal"),
    pytest.param({"a": 1}, {"a": 1.0}, {"a": 1.0}, id="other type"),
    pytest.param({"a": 0.0}, {"a": -0.0}, {"a": -0.0}, id="negative zero"),
    pytest.param({"a": math.nan}, {"a": float("nan")}, {}, id="nan"),
    pytest.param({"a": 1, "b": 2}, {"b": 2}, {"_delete_": ["a"]}, id="deletion"),
    pytest.param({"a": {"b": 1, "c": 2}}, {"a": {}}, {"a": {"_delete_": True}}, id="one leaf instead of two"),
    pytest.param({"a": {"b": 1}}, {"a": {}}, {"a": {"_delete_": ["b"]}}, id="names the key when that costs the same"),
    pytest.param({"a": {"b": 1}}, {"a": {"b": 1}, "c": {}}, {"c": {}}, id="new empty mapping"),
    pytest.param({}, {"base_config": {"_delete_": 1}}, {"base_config_": {"_delete__": 1}}, id="escapes"),
    pytest.param({1: 2}, {True: 2}, {True: 2}, id="equal key of another type"),
    pytest.param({float("nan"): 1}, {math.nan: 1}, {}, id="nan as key"),
]


@pytest.mark.parametrize(("base", "full", "expected"), OVERLAYS)
def test_overlay(base: dict[Any, Any], full: dict[Any, Any], expected: dict[Any, Any]) -> None:
    found = overlay(base, full)
    assert typed_equal(found, expected)
    assert typed_equal(merge(base, found), full)


def test_overlay_that_keeps_the_order_sets_again_what_is_out_of_place() -> None:
    base = {"a": 1, "b": 2, "c": 3}
    assert overlay(base, {"a": 1, "c": 3, "b": 2}) == {}
    assert overlay(base, {"a": 1, "c": 3, "b": 2}, order=True) == {"_delete_": ["b"], "b": 2}


UTC = datetime.UTC
UNEQUAL = [
    pytest.param(1, True, id="int and bool"),
    pytest.param(1, 1.0, id="int and float"),
    pytest.param(0.0, -0.0, id="zeros"),
    pytest.param("5e-5", 5e-5, id="text and number"),
    pytest.param(None, False, id="null and false"),
    pytest.param([1], [1, 1], id="lists of other length"),
    pytest.param([1], [True], id="lists of other types"),
    pytest.param({1: 0}, {True: 0}, id="keys of other types"),
    pytest.param({"a": 1}, {"a": 1, "b": None}, id="null and absent"),
    pytest.param({}, [], id="empty mapping and list"),
    pytest.param({}, None, id="empty mapping and null"),
    pytest.param(datetime.date(2024, 1, 1), datetime.datetime(2024, 1, 1), id="date and time"),
    pytest.param(
        datetime.datetime(2024, 1, 1, 1, tzinfo=UTC),
        datetime.datetime(2024, 1, 1, 2, tzinfo=datetime.timezone(datetime.timedelta(hours=1))),
        id="same moment, other offset",
    ),
]


@pytest.mark.parametrize(("first", "second"), UNEQUAL)
def test_values_that_differ(first: Any, second: Any) -> None:
    assert typed_equal(first, first)
    assert typed_equal(second, second)
    assert not typed_equal(first, second)
    assert not typed_equal({"a": [first]}, {"a": [second]})


def test_order_of_keys_counts_only_when_asked_for() -> None:
    first, second = {"a": {"x": 1, "y": 2}}, {"a": {"y": 2, "x": 1}}
    assert typed_equal(first, second)
    assert not typed_equal(first, second, order=True)


NAMES = ["a", "b", "c", "_delete_", "_delete__", "_delete", "base_config", "base_config_", "base_config__"]
SCALARS = st.one_of(
    st.sampled_from([None, True, False, 0, 1, 0.0, -0.0, 1.0, math.nan, 5e-5, "", "a", "5e-5", "1", "???", "${x}"]),
    st.just(datetime.date(2024, 1, 1)),
)
KEYS = st.sampled_from([*NAMES, 0, 1, True, False, 1.0, None, math.nan])


def mappings(keys: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[Any, Any]]:
    values = st.recursive(
        SCALARS,
        lambda below: st.one_of(st.lists(below, max_size=2), st.dictionaries(keys, below, max_size=4)),
        max_leaves=12,
    )
    return st.dictionaries(keys, values, max_size=6)


@given(mappings(KEYS), mappings(KEYS), st.booleans())
def test_merging_the_overlay_gives_the_result(base: dict[Any, Any], full: dict[Any, Any], order: bool) -> None:
    assert typed_equal(merge(base, overlay(base, full, order=order)), full, order)


@given(mappings(KEYS))
def test_nothing_changes_without_a_difference(full: dict[Any, Any]) -> None:
    assert overlay(full, full) == {}
    assert overlay(full, full, order=True) == {}
    assert typed_equal(merge(full, {}), full, order=True)
    assert typed_equal(merge({}, escape(full)), full, order=True)


@st.composite
def overlays(draw: st.DrawFn, base: dict[str, Any]) -> dict[str, Any]:
    """Draw any overlay that is valid over `base`."""
    over: dict[str, Any] = {}
    gone = draw(st.sampled_from(["", "all", "some"]))
    if gone == "all":
        over["_delete_"] = True
    elif gone and base:
        over["_delete_"] = draw(st.lists(st.sampled_from(sorted(base)), unique=True))
    for key in draw(st.lists(st.sampled_from("abcd"), unique=True)):
        held = base.get(key)
        if isinstance(held, dict) and not over.get("_delete_") and draw(st.booleans()):
            over[key] = draw(overlays(held))
        else:
            over[key] = draw(st.one_of(SCALARS, st.dictionaries(st.sampled_from("abcd"), SCALARS, max_size=3)))
    return over


def size(over: dict[str, Any]) -> int:
    counts = []
    for key, value in over.items():
        if key == "_delete_" and isinstance(value, list):
            counts.append(len(value))
        else:
            counts.append((size(value) or 1) if isinstance(value, dict) else 1)
    return sum(counts)


@given(st.data())
def test_no_overlay_is_smaller_than_the_one_found(data: st.DataObject) -> None:
    base = data.draw(mappings(st.sampled_from("abcd")))
    over = data.draw(overlays(base))
    full = merge(base, over)
    assert size(overlay(base, full)) <= size(over)
    assert size(overlay({}, full)) == leaves(full)


@given(mappings(st.sampled_from("abcd")), mappings(st.sampled_from("abcd")))
def test_order_of_bases_matters_exactly_where_they_disagree(first: dict[Any, Any], second: dict[Any, Any]) -> None:
    same = typed_equal(combine(first, second), combine(second, first))
    assert same == (not list(disagreements(first, second)))
