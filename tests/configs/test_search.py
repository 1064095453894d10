from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bem_core.config.merge import combine, disagreements, merge, typed_equal
from benchmarks._configs_planted import Planted, hierarchy, orthogonal
from migrate.configs.figures import count, join, measure, overlays, resolve
from migrate.configs.leaves import flatten, key
from migrate.configs.search import Plan, SearchOptions, Template, fit, is_identity, search

Documents = Mapping[str, Mapping[str, Any]]


def assert_lossless(plan: Plan, documents: Documents) -> None:
    resolved = resolve(plan)
    for name, over in overlays(plan, documents).items():
        bases = [resolved[base] for base in plan.bases[name]]
        assert typed_equal(merge(join(bases), over), documents[name]), name
        # With the bases the other way round too, for the loader refuses a plan that depends on their order.
        assert typed_equal(merge(join(reversed(bases)), over), documents[name]), name


def levels(plan: Plan) -> dict[int, int]:
    found: dict[int, int] = {}
    for template in plan.templates:
        found[template.id] = 1 + max((found[parent] for parent in template.parents), default=0)
    return found


def served(plan: Plan) -> dict[int, set[str]]:
    found: dict[int, set[str]] = {template.id: set() for template in plan.templates}
    for name, bases in plan.bases.items():
        for base in bases:
            found[base].add(name)
    for template in reversed(plan.templates):
        for parent in template.parents:
            found[parent] |= found[template.id]
    return found


PLANTED = [
    pytest.param(hierarchy(60, 3, 3), id="hierarchy of 60"),
    pytest.param(hierarchy(120, 4, 5, noise=0.05, seed=3), id="noisy hierarchy of 120"),
    pytest.param(hierarchy(40, 2, 2, noise=0.0, seed=5), id="hierarchy without noise"),
    pytest.param(hierarchy(520, 3, 4, seed=7), id="more files than are looked at first"),
]


@pytest.mark.parametrize("planted", PLANTED)
def test_planted_hierarchy_is_found(planted: Planted) -> None:
    plan = search(planted.documents)
    assert_lossless(plan, planted.documents)
    assert measure(plan, planted.documents).cost <= 1.02 * planted.cost()


def test_planted_groups_become_templates_of_their_own() -> None:
    planted = orthogonal(500, 3, 8)
    plan = search(planted.documents)
    assert_lossless(plan, planted.documents)
    assert len(plan.templates) <= 30
    assert measure(plan, planted.documents).with_templates >= 0.78
    assert any(len(bases) > 1 for bases in plan.bases.values())


def test_few_documents_for_each_pair_of_groups_still_cost_no_more_than_planted() -> None:
    planted = orthogonal(200, 3, 5)
    plan = search(planted.documents)
    assert_lossless(plan, planted.documents)
    assert measure(plan, planted.documents).cost <= planted.cost()


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(SearchOptions(max_depth=1), id="depth 1"),
        pytest.param(SearchOptions(max_depth=2, max_bases=1), id="depth 2, trees"),
        pytest.param(SearchOptions(max_templates=3), id="3 templates"),
        pytest.param(SearchOptions(max_templates=0), id="no template"),
        pytest.param(SearchOptions(min_support=9), id="support 9"),
        pytest.param(SearchOptions(default_share=1.0), id="held by all"),
        pytest.param(SearchOptions(default_share=0.0), id="held by any"),
    ],
)
def test_limits_hold(options: SearchOptions) -> None:
    documents = hierarchy(60, 3, 3).documents
    plan = search(documents, options)
    assert_lossless(plan, documents)
    assert max(levels(plan).values(), default=0) <= options.max_depth
    assert options.max_templates is None or len(plan.templates) <= options.max_templates
    assert max(map(len, plan.bases.values())) <= options.max_bases
    assert all(len(names) >= options.min_support for names in served(plan).values())


@pytest.mark.parametrize(
    "planted",
    [
        pytest.param(hierarchy(60, 3, 3, noise=0.1), id="tree"),
        pytest.param(orthogonal(90, 3, 4, noise=0.1), id="several bases"),
    ],
)
def test_a_default_is_held_by_half_of_its_documents(planted: Planted) -> None:
    documents = planted.documents
    plan = search(documents)
    resolved, below = resolve(plan), served(plan)
    leaves = {name: flatten(document) for name, document in documents.items()}
    for template in plan.templates:
        inherited = flatten(join(resolved[parent] for parent in template.parents))
        for path, value in flatten(resolved[template.id]).items():
            if path in inherited and key(inherited[path]) == key(value):
                continue
            held = sum(key(leaves[name].get(path)) == key(value) for name in below[template.id])
            assert 2 * held >= len(below[template.id]), (template.id, path)


def test_order_of_documents_does_not_count_and_runs_agree() -> None:
    documents = hierarchy(60, 3, 3).documents
    names = list(documents)
    random.Random(4).shuffle(names)
    first, again = search(documents), search(documents)
    shuffled = search({name: documents[name] for name in names})
    assert first == again
    assert first.templates == shuffled.templates
    assert first.bases == shuffled.bases


@pytest.mark.parametrize(
    ("path", "identity"),
    [
        pytest.param(("name",), True, id="name"),
        pytest.param(("metadata", "description"), True, id="description"),
        pytest.param(("experiment", "tags"), True, id="tags"),
        pytest.param(("logging", "output_dir"), True, id="output of a run"),
        pytest.param(("evaluation", "slices", "hard", "name"), False, id="name of a slice"),
        pytest.param(("optimizer", "name"), False, id="name of an optimizer"),
        pytest.param(("checkpointer", "output_dir"), False, id="output of a part"),
        pytest.param((), False, id="nothing"),
    ],
)
def test_identity(path: tuple[str, ...], identity: bool) -> None:
    assert is_identity(path) is identity


def test_identity_never_becomes_a_default() -> None:
    shared = {f"key{number}": number for number in range(9)}
    documents = {f"{number}": {"name": "same", "metadata": {"description": "same"}, **shared} for number in range(6)}
    plan = search(documents)
    assert [set(content) for content in resolve(plan).values()] == [set(shared)]


@pytest.mark.parametrize(
    "documents",
    [
        pytest.param({}, id="none"),
        pytest.param({"a": {"x": 1}}, id="one"),
        pytest.param({"a": {}, "b": {}}, id="empty"),
        pytest.param({"a": {"x": 1}, "b": {"y": 1}}, id="nothing in common"),
        pytest.param({"a": {"x": 1, "y": 2}, "b": {"x": True, "y": 2.0}}, id="only types differ"),
    ],
)
def test_nothing_to_share(documents: Documents) -> None:
    plan = search(documents)
    assert plan.templates == []
    assert plan.bases == dict.fromkeys(documents, ())


PARTS = {f"k{number}": number for number in range(8)}


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param({"x": {"y": 1}}, id="mapping where others have a scalar"),
        pytest.param({"x": {}}, id="empty mapping"),
        pytest.param({"x": None}, id="null"),
        pytest.param({"x": float("nan")}, id="nan"),
        pytest.param({"_delete_": ["k1"]}, id="a key that looks like a directive"),
        pytest.param({"base_config": "k1"}, id="a key that looks like a base"),
        pytest.param({1: "one", "t": {True: "yes"}}, id="keys that are no text"),
    ],
)
def test_odd_documents_stay_what_they_are(odd: dict) -> None:
    plain = {f"p{number}": {**PARTS, "x": 5} for number in range(4)}
    documents = plain | {f"o{number}": {**PARTS, **odd} for number in range(3)}
    plan = search(documents)
    assert_lossless(plan, documents)
    assert any(plan.bases.values())


def test_pinned_templates_are_used_and_kept() -> None:
    pinned = {f"k{number}": number for number in range(10)}
    documents = {f"d{number}": {**pinned, "own": number} for number in range(5)}
    plan = search(documents, SearchOptions(pinned=(pinned, {"unused": 1})))
    assert [(template.id, template.pinned) for template in plan.templates] == [(0, True), (1, True)]
    assert plan.templates[0].values == pinned
    assert set(plan.bases.values()) == {(0,)}
    assert measure(plan, documents).leaves_templates == 0


@pytest.mark.parametrize(
    ("document", "bases"),
    [
        pytest.param({"a": 1, "b": 2, "c": 3}, (3,), id="best one"),
        pytest.param({"a": 1, "b": 2, "c": 3, "x": 1, "y": 2}, (3, 8), id="two that go together"),
        pytest.param({"a": 1}, (), id="none pays"),
    ],
)
def test_fit(document: dict, bases: tuple[int, ...]) -> None:
    templates = {3: {"a": 1, "b": 2, "c": 3}, 5: {"a": 1, "b": 2}, 8: {"x": 1, "y": 2, "a": 1}}
    assert fit(document, templates) == bases


@pytest.mark.parametrize(
    ("overlay", "leaves"),
    [
        pytest.param({}, 0, id="nothing"),
        pytest.param({"a": {"b": 1, "c": [1, 2]}}, 2, id="a list is one"),
        pytest.param({"a": {}}, 1, id="empty mapping"),
        pytest.param({"_delete_": ["a", "b"], "c": 1}, 3, id="each deleted key"),
        pytest.param({"a": {"_delete_": True, "b": 1}}, 2, id="everything deleted"),
        pytest.param({"base_config": ["a", "b"]}, 2, id="each base"),
        pytest.param({"base_config": "a"}, 1, id="one base"),
    ],
)
def test_count(overlay: dict, leaves: int) -> None:
    assert count(overlay) == leaves


VALUES = st.sampled_from([None, True, 1, 1.0, "1", "a", [], [1], {}])
SECTIONS = st.dictionaries(st.sampled_from("abcd"), VALUES, max_size=4)
SMALL = st.dictionaries(st.sampled_from("vwxyz"), VALUES | SECTIONS, max_size=5)


@settings(max_examples=60, deadline=None)
@given(st.lists(SMALL, min_size=1, max_size=9), st.integers(1, 3))
def test_any_documents_come_back(found: list[dict], copies: int) -> None:
    documents = {f"{number}-{copy}": document for number, document in enumerate(found) for copy in range(copies)}
    plan = search(documents)
    assert_lossless(plan, documents)
    figures = measure(plan, documents)
    assert figures.cost <= figures.leaves_before


def test_a_leaf_on_which_bases_disagree_is_written() -> None:
    bases = [{"a": 1, "b": 1}, {"a": 2, "c": 1}]
    assert list(disagreements(*bases)) == [("a",)]
    assert combine(*bases)["a"] == 2
    plan = Plan()
    plan.templates = [Template(number, (), content) for number, content in enumerate(bases)]
    plan.bases = {"d": (0, 1)}
    assert overlays(plan, {"d": {"a": 2, "b": 1, "c": 1}}) == {"d": {"a": 2}}
