from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch

from bem_core.evaluation.errors import EvaluationError
from bem_core.evaluation.samples import count, take
from bem_core.evaluation.slices import read


class Pair(NamedTuple):
    x: Any
    y: Any


X, Y = torch.arange(6).view(3, 2), torch.tensor([7, 8, 9])
LISTS = {"text": ["a", "b", "c"], "nested": {"y": Y}, "scale": torch.tensor(2.0), "note": "abc"}


@pytest.mark.parametrize(
    ("batch", "size"),
    [
        (X, 3),
        ((X, Y), 3),
        ([X[:2], Y[:2]], 2),
        ({"text": ["a"], "x": X}, 3),
        ({"text": ["a", "b"]}, 2),
        (Pair(X, Y), 3),
        ({"images": [torch.zeros(3, 8), torch.zeros(3, 9)]}, 3),
        ({"scale": torch.tensor(1.0)}, None),
        ("abc", None),
    ],
)
def test_how_many_samples_a_batch_has(batch: Any, size: int | None) -> None:
    assert count(batch) == size


@pytest.mark.parametrize("index", [slice(2), [0, 1]])
def test_a_part_of_a_batch_keeps_its_form(index: Any) -> None:
    found = take({**LISTS, "pair": Pair(X, Y), "columns": [X, Y], "images": [X[:1], X[:2], X]}, index, 3)
    assert found["text"] == ["a", "b"]
    assert found["nested"]["y"].tolist() == [7, 8]
    assert (found["scale"], found["note"]) == (LISTS["scale"], "abc")
    assert isinstance(found["pair"], Pair)
    assert found["pair"].x.tolist() == [[0, 1], [2, 3]]
    assert [column.tolist() for column in found["columns"]] == [[[0, 1], [2, 3]], [7, 8]]
    assert [len(image) for image in found["images"]] == [1, 2]


def test_two_columns_of_two_samples_are_not_two_samples() -> None:
    assert [column.tolist() for column in take([X[:2], Y[:2]], slice(1), 2)] == [[[0, 1]], [7]]


VALUES = {"coverage": torch.tensor([0.9, 0.7, 0.1]), "domain": ["wiki", "news", "wiki"], "loss": torch.tensor(1.0)}


@pytest.mark.parametrize(
    ("rule", "members"),
    [
        pytest.param({"name": "Full", "type": "full"}, [0, 1, 2], id="all"),
        pytest.param({"type": "retrieval_strong", "coverage_threshold": 0.7}, [0, 1], id="threshold in float32"),
        pytest.param({"min_coverage": 0.5, "max_coverage": 0.85}, [1], id="between"),
        pytest.param({"domain": "wiki"}, [0, 2], id="value"),
        pytest.param({"domain": ["wiki", "news"], "min_coverage": 0.5}, [0, 1], id="values and bound"),
    ],
)
def test_members_of_a_slice(rule: dict[str, Any], members: list[int]) -> None:
    assert read({"one": rule})[0].members(VALUES, 3) == members


@pytest.mark.parametrize(
    ("slices", "message"),
    [
        (
            {"a": 3, "b": {"min_x": "3"}},
            r"slices\.a: expected a mapping.*found 3\n.*slices\.b\.min_x: expected a number",
        ),
        ({"a": {"min_x": True}}, r"slices\.a\.min_x: expected a number, found True"),
    ],
)
def test_slices_that_are_none(slices: dict[str, Any], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        read(slices)


@pytest.mark.parametrize("field", ["covarage", "loss", "x"])
def test_a_slice_by_what_samples_do_not_have(field: str) -> None:
    with pytest.raises(EvaluationError, match=rf"slices\.a: samples have no '{field}'"):
        read({"a": {f"min_{field}": 1}})[0].members({**VALUES, "x": X}, 3)


def test_a_bound_on_text() -> None:
    with pytest.raises(EvaluationError, match=r"slices\.a: 'domain' cannot be compared with 1"):
        read({"a": {"max_domain": 1}})[0].members(VALUES, 3)
