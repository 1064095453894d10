from __future__ import annotations

import pytest

from benchmarks._configs_planted import hierarchy
from migrate.configs.ceiling import Ceiling, Least, ceiling, ceiling_of, least
from migrate.configs.figures import measure
from migrate.configs.search import search


@pytest.mark.parametrize(
    ("documents", "expected"),
    [
        pytest.param({}, Ceiling(0.0, 0.0), id="nothing"),
        pytest.param({"a": {}}, Ceiling(0.0, 0.0), id="an empty document"),
        pytest.param({"a": {"x": 1}, "b": {"x": 2}}, Ceiling(0.0, 0.0), id="nothing shared"),
        pytest.param({"a": {"x": 1}, "b": {"x": True}}, Ceiling(0.0, 0.0), id="types differ"),
        pytest.param({"a": {"x": 1}, "b": {"x": 1}}, Ceiling(1.0, 0.5), id="one leaf, twice"),
        pytest.param(
            # 8 leaves: x three times and y twice are shared, so 5 can leave the files and 3 can go away.
            {"a": {"x": 1, "y": [1]}, "b": {"x": 1, "y": [1], "z": 1}, "c": {"x": 1, "z": 2, "w": {}}},
            Ceiling(5 / 8, 3 / 8),
            id="worked out by hand",
        ),
    ],
)
def test_ceiling(documents: dict, expected: Ceiling) -> None:
    assert ceiling(documents) == expected


def test_no_plan_is_above_it() -> None:
    documents = hierarchy(30, 2, 3).documents
    bound = ceiling(documents)
    found = measure(search(documents), documents)
    assert 0.8 * bound.with_templates < found.with_templates < bound.with_templates
    assert found.experiments_only < bound.experiments_only


def test_what_is_shared_already_cannot_go_again() -> None:
    documents = {"a": {"x": 1, "y": 1}, "b": {"x": 1, "y": 2}}
    assert least(documents) == Least(own=2, shared=1)
    # y in each file and a base_config line; x in a template, which may go or stays.
    assert ceiling_of(least(documents), 4, 5) == Ceiling(0.5, pytest.approx(0.4))
    assert ceiling_of(least(documents, [{"x": 1}]), 4, 5, staying=1) == Ceiling(0.5, pytest.approx(0.4))
    assert ceiling_of(least(documents), 2, 3) == Ceiling(0.0, 0.0)


def test_a_file_may_give_up_what_a_template_has() -> None:
    assert least({"a": {"x": 1, "y": 1, "z": 1}}, [{"x": 1, "y": 2}]) == Least(own=2, shared=0)
