"""Loading a model, and the error for the checkpoint of another one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from bem_core.errors import CheckpointError
from bem_core.training.checkpoint import load_model_part


def test_own_state_is_loaded() -> None:
    saved, model = nn.Linear(2, 3), nn.Linear(2, 3)
    load_model_part(model, dict(saved.state_dict()), "c")
    assert torch.equal(model.weight, saved.weight)


def test_all_differences_are_in_one_error_and_nothing_is_loaded() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4), nn.BatchNorm1d(4))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    part: dict[str, Any] = {name: torch.full_like(value, 7) for name, value in model.state_dict().items()}
    part["0.weihgt"] = part.pop("0.weight")
    part["1.weight"] = torch.zeros(3, 4)
    part["2.num_batches_tracked"] = 3
    with pytest.raises(CheckpointError) as caught:
        load_model_part(model, part, "runs/step-1")
    assert str(caught.value).splitlines() == [
        "runs/step-1: the checkpoint is of another model",
        "  1 not in the checkpoint: 0.weight",
        "  1 not in the model: 0.weihgt; did you mean '0.weight'?",
        "  2 of another shape: 1.weight: [3, 4], the model has [4, 3], "
        "2.num_batches_tracked: no tensor but int, the model has []",
    ]
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_long_lists_are_cut_and_counted() -> None:
    model = nn.Sequential(*(nn.Linear(1, 1, bias=False) for _ in range(25)))
    with pytest.raises(CheckpointError, match=r"25 not in the checkpoint: 0\.weight, .*9\.weight, and 15 more$"):
        load_model_part(model, {}, "c")
    part = {f"x{index}": 1 for index in range(11)} | dict(model.state_dict())
    with pytest.raises(CheckpointError, match=r"11 not in the model: x0, .*x9, and 1 more$"):
        load_model_part(model, part, "c")
