"""Batches: padding and stacking, similar lengths, the split for validation."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, TensorDataset

from bem_core.errors import DataError
from bem_core.utils.data import LengthBatches, collate, split_validation


def test_a_batch_of_everything() -> None:
    samples = [
        {
            "input_ids": [5, 6, 7],
            "labels": (1,),
            "x": torch.ones(2),
            "text": "a",
            "y": 1,
            "ok": True,
            "w": 0.5,
            "m": None,
        },
        {"input_ids": [8], "labels": (2, 3), "x": torch.zeros(2), "text": "b", "y": 2, "ok": False, "w": 1, "m": None},
    ]
    batch = collate(samples, padding={"input_ids": 0, "labels": -100})
    assert list(batch) == list(samples[0])
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 0, 0]]
    assert batch["labels"].tolist() == [[1, -100], [2, 3]]
    assert batch["x"].tolist() == [[1, 1], [0, 0]]
    assert (batch["text"], batch["m"]) == (["a", "b"], [None, None])
    assert (batch["y"].tolist(), batch["ok"].tolist(), batch["w"].tolist()) == ([1, 2], [True, False], [0.5, 1.0])
    dtypes = [batch[key].dtype for key in ("input_ids", "labels", "y", "ok", "w")]
    assert dtypes == [torch.int64, torch.int64, torch.int64, torch.bool, torch.float32]


@pytest.mark.parametrize(
    ("values", "pad", "expected"),
    [
        pytest.param([[], [1, 2]], 9, torch.tensor([[9, 9], [1, 2]]), id="empty-list"),
        pytest.param([[], []], 9, torch.empty(2, 0, dtype=torch.int64), id="all-empty"),
        pytest.param([[], [0.5]], -1, torch.tensor([[-1.0], [0.5]]), id="empty-list-beside-floats"),
        pytest.param([[1], [0.5]], None, torch.tensor([[1.0], [0.5]]), id="ints-and-floats"),
        pytest.param([[[1, 2]], [[3, 4]]], None, torch.tensor([[[1, 2]], [[3, 4]]]), id="nested"),
        pytest.param([np.arange(2), np.arange(1)], 7, torch.tensor([[0, 1], [0, 7]]), id="arrays"),
        pytest.param([np.float32(1), np.float32(2)], None, torch.tensor([1.0, 2.0]), id="numpy-numbers"),
        pytest.param(
            [torch.ones(2, dtype=torch.bfloat16), torch.ones(1, dtype=torch.bfloat16)],
            0,
            torch.tensor([[1, 1], [1, 0]], dtype=torch.bfloat16),
            id="tensors",
        ),
        pytest.param([[True], [False, True]], False, torch.tensor([[True, False], [False, True]]), id="bools"),
    ],
)
def test_padding_and_stacking(values: list[Any], pad: Any, expected: torch.Tensor) -> None:
    found = collate([{"k": value} for value in values], padding={} if pad is None else {"k": pad})["k"]
    assert found.dtype == expected.dtype
    assert torch.equal(found, expected)


def test_length_is_rounded_up() -> None:
    batch = collate([{"a": [1, 2, 3], "b": [1]}, {"a": [4], "b": [2]}], padding={"a": 0}, multiple_of=4)
    assert batch["a"].tolist() == [[1, 2, 3, 0], [4, 0, 0, 0]]
    assert batch["b"].tolist() == [[1], [2]]


def test_lists_of_no_numbers_stay() -> None:
    samples = [{"words": ["a", "b"], "turns": [{"x": 1}]}, {"words": [], "turns": [{"x": 2}, {"x": 3}]}]
    assert collate(samples) == {"words": [["a", "b"], []], "turns": [[{"x": 1}], [{"x": 2}, {"x": 3}]]}


@pytest.mark.parametrize(
    ("samples", "text"),
    [
        pytest.param([], "a batch of no samples", id="none"),
        pytest.param([{"a": 1}, {"a": 1, "b": 2}], "'b': only some samples of the batch have it", id="keys"),
        pytest.param(
            [{"a": [1]}, {"a": [1, 2]}], r"'a': shapes \[1\], \[2\] in one batch, and no padding", id="ragged"
        ),
        pytest.param([{"a": [[1], [1, 2]]}], "'a': expected numbers, or lists of them with equal lengths", id="inside"),
        pytest.param([{"a": [1, "x"]}], "'a': expected numbers", id="mixed-list"),
        pytest.param([{"a": 1}, {"a": None}], "'a': NoneType and int in one batch", id="mixed"),
        pytest.param([{"p": [[1]]}, {"p": [[1]]}], "'p': padding is for flat lists", id="padding-nested"),
        pytest.param(
            [{"a": torch.ones(2, 1)}, {"a": torch.ones(1, 2)}], r"'a': shapes \[1, 2\], \[2, 1\]", id="tensors"
        ),
    ],
)
def test_what_does_not_go_together(samples: list[Any], text: str) -> None:
    with pytest.raises(DataError, match=text):
        collate(samples, padding={"p": 0})


def test_in_a_loader_with_workers() -> None:
    samples = [{"ids": list(range(n))} for n in (3, 1, 2, 5)]
    loader = DataLoader(
        samples,  # type: ignore[arg-type]
        batch_size=2,
        num_workers=1,
        collate_fn=partial(collate, padding={"ids": -1}),
        multiprocessing_context="spawn",
    )
    assert [batch["ids"].shape for batch in loader] == [(2, 3), (2, 5)]


@given(
    lengths=st.lists(st.integers(0, 50), min_size=1, max_size=60),
    batch_size=st.integers(1, 9),
    pool=st.integers(1, 5),
    shuffle=st.booleans(),
    drop_last=st.booleans(),
    epoch=st.integers(0, 3),
)
def test_every_sample_once_in_full_batches(
    lengths: list[int], batch_size: int, pool: int, shuffle: bool, drop_last: bool, epoch: int
) -> None:
    batches = LengthBatches(lengths, batch_size, pool_batches=pool, shuffle=shuffle, drop_last=drop_last)
    batches.set_epoch(epoch)
    drawn = list(batches)
    assert len(drawn) == len(batches)
    samples = sorted(index for batch in drawn for index in batch)
    full = len(lengths) // batch_size * batch_size
    assert len(set(samples)) == len(samples)
    assert set(samples) <= set(range(len(lengths)))
    assert len(samples) == (full if drop_last else len(lengths))
    assert sorted(map(len, drawn), reverse=True)[: full // batch_size] == [batch_size] * (full // batch_size)


def test_order_depends_on_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[list[int]]:
        batches = LengthBatches(range(100), 4, seed=seed, pool_batches=5)
        batches.set_epoch(epoch)
        torch.rand(epoch + 1)
        return list(batches)

    assert order(1, 2) == order(1, 2)
    assert len({str(order(seed, epoch)) for seed in (1, 2) for epoch in (0, 1)}) == 4


def test_batches_come_in_no_order_of_length_and_in_order_without_shuffling() -> None:
    drawn = [max(batch) for batch in LengthBatches(range(400), 4)]
    assert drawn != sorted(drawn)
    ordered = LengthBatches([3, 1, 2, 9, 7, 8], 2, pool_batches=2, shuffle=False)
    assert list(ordered) == [[1, 2], [0, 3], [4, 5]]


def test_less_is_padded() -> None:
    random.seed(0)
    lengths = [min(1 + int(random.expovariate(1 / 100)), 512) for _ in range(20_000)]

    def padded_share(batches: Any) -> float:
        slots = sum(max(lengths[index] for index in batch) * len(batch) for batch in batches)
        return 1 - sum(lengths) / slots

    plain = list(range(20_000))
    without = padded_share([plain[start : start + 32] for start in range(0, 20_000, 32)])
    assert without > 0.6
    assert padded_share(LengthBatches(lengths, 32)) < 0.06
    assert padded_share(LengthBatches(lengths, 32, pool_batches=10)) < 0.25


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"batch_size": 2, "pool_batches": 0}])
def test_bad_sizes(options: Any) -> None:
    with pytest.raises(DataError, match="expected at least 1, got 0"):
        LengthBatches([1], **options)
    with pytest.raises(DataError, match="lengths: expected at least 1, got 0"):
        LengthBatches([], 1)


def test_split_is_by_seed_and_leaves_global_generators_alone() -> None:
    data = TensorDataset(torch.arange(50))
    state = torch.get_rng_state()
    training, validation = split_validation(data, 0.1, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert (len(training), len(validation)) == (45, 5)
    assert sorted([*training.indices, *validation.indices]) == list(range(50))
    assert split_validation(data, 5, seed=3)[1].indices == validation.indices
    assert split_validation(data, 5, seed=4)[1].indices != validation.indices


@pytest.mark.parametrize("validation", [0, 1.0, 50, 0.001, -1])
def test_split_without_samples(validation: Any) -> None:
    with pytest.raises(DataError, match="of 50 samples leaves a part without samples"):
        split_validation(TensorDataset(torch.arange(50)), validation)
