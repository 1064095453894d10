"""``verify configs`` and ``verify checkpoints``: what counts as a difference, and the exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from bem_core.training.checkpoint import save_tree
from migrate.cli import main
from migrate.verify.distances import distance
from migrate.verify.structures import changes


def call(*args: object) -> Result:
    return CliRunner().invoke(main, ["verify", *map(str, args)])


@pytest.mark.parametrize(
    ("old", "new", "keys"),
    [
        pytest.param({"a": 1}, {"a": 1}, [], id="same"),
        pytest.param({"a": 1, "b": 2}, {"b": 2, "a": 1}, [], id="order of keys"),
        pytest.param({"a": float("nan")}, {"a": float("nan")}, [], id="nan"),
        pytest.param({"a": 1}, {"a": 1.0}, ["a"], id="type of number"),
        pytest.param({"a": 1}, {"a": True}, ["a"], id="boolean"),
        pytest.param({"a": 0.0}, {"a": -0.0}, ["a"], id="sign of zero"),
        pytest.param({"a": "1 (int)"}, {"a": 1}, ["a"], id="text that looks like a leaf"),
        pytest.param({"a": None}, {}, ["a"], id="null and absent"),
        pytest.param({"a": {"b": [1, 2]}}, {"a": {"b": [2, 1]}}, ["a.b.0", "a.b.1"], id="order of a list"),
        pytest.param({1: "x"}, {"1": "x"}, ["1", "1"], id="type of key"),
        pytest.param({"a": {"b": 1}}, {"a": [1]}, ["a"], id="mapping and list"),
    ],
)
def test_structures(old: Any, new: Any, keys: list[str]) -> None:
    assert [one.key for one in changes(old, new)] == keys


def test_configs_of_two_folders(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new / "templates"):
        folder.mkdir(parents=True)
    (old / "a.yaml").write_text("training: {lr: 0.1, steps: 5}\n")
    (old / "b.yaml").write_text("training: {lr: 0.1}\n")
    (old / "c.yaml").write_text("x: 1\n")
    (new / "templates" / "base.yaml").write_text("training: {lr: 0.1}\n")
    (new / "a.yaml").write_text("base_config: templates/base.yaml\ntraining: {steps: 5}\n")
    (new / "b.yaml").write_text("base_config: templates/base.yaml\ntraining: {lr: 1.0e-1, x: 1}\n")
    done = call("configs", old, new)
    assert done.exit_code == 1
    assert "c.yaml: only in" in done.output
    assert "b.yaml: training.x: (absent) and 1 (int)" in done.output
    assert "2 compared, 1 the same; only in" in done.output
    assert call("configs", old / "a.yaml", new / "a.yaml").exit_code == 0


def test_configs_with_old_spellings(tmp_path: Path) -> None:
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text("name: x\ntraining: {num_epochs: 3}\n")
    new.write_text("name: x\ntraining: {max_epochs: 3}\n")
    assert call("configs", old, new).exit_code == 1
    assert call("configs", old, new, "--typed").exit_code == 0


@pytest.mark.parametrize(
    ("new", "code", "text"),
    [
        pytest.param("base_config: gone.yaml\n", 3, "cannot be resolved", id="dangling base"),
        pytest.param(None, 2, "no such file or folder", id="no such file"),
    ],
)
def test_configs_that_cannot_be_read(new: str | None, code: int, text: str, tmp_path: Path) -> None:
    (tmp_path / "old.yaml").write_text("a: 1\n")
    if new is not None:
        (tmp_path / "new.yaml").write_text(new)
    done = call("configs", tmp_path / "old.yaml", tmp_path / "new.yaml")
    assert done.exit_code == code
    assert text in done.output


def state() -> dict[str, Any]:
    return {"w": torch.arange(6.0).reshape(2, 3), "step": 3}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        pytest.param({}, None, id="same"),
        pytest.param({"step": 4}, "step: 3 (int) and 4 (int)", id="value"),
        pytest.param({"w": torch.arange(6.0).reshape(3, 2)}, "w: float32[2, 3] and float32[3, 2]", id="shape"),
        pytest.param({"w": state()["w"].double()}, "float64[2, 3]", id="type"),
        pytest.param({"w": state()["w"] + torch.eye(2, 3)}, "w: 2 elements differ", id="content"),
        pytest.param({"more": torch.ones(1)}, "more: (absent) and float32[1]", id="more"),
    ],
)
def test_checkpoints(change: dict[str, Any], text: str | None, tmp_path: Path) -> None:
    one, other = tmp_path / "a.pt", tmp_path / "another.pt"
    torch.save(state(), one)
    torch.save(state() | change, other)
    done = call("checkpoints", one, other)
    assert done.exit_code == int(text is not None)
    assert (text or "0 of them differ") in done.output
    report = json.loads(call("checkpoints", one, other, "--format", "json").output)
    assert report["same"] == (text is None)
    assert (len(set(report["digests"])) == 1) == (text is None)


def test_checkpoints_of_other_formats_and_names(tmp_path: Path) -> None:
    weights = {"layer.weight": torch.randn(3, 2), "layer.bias": torch.zeros(3)}
    torch.save({"model_state_dict": weights, "epoch": 2}, tmp_path / "old.pt")
    save_tree(tmp_path / "step_2", {"model": weights, "progress": {"step": 2}})
    save_file(weights, tmp_path / "weights.safetensors")
    mapped = ("--map", r"model_state_dict\.(.*)=model.\1", "--only", r"model\..*")
    assert call("checkpoints", tmp_path / "old.pt", tmp_path / "step_2", *mapped).exit_code == 0
    plain = ("--map", r"model\.(.*)=\1", "--only", r"layer\..*")
    assert call("checkpoints", tmp_path / "step_2", tmp_path / "weights.safetensors", *plain).exit_code == 0
    twice = call("checkpoints", tmp_path / "old.pt", tmp_path / "step_2", "--map", ".*=x")
    assert twice.exit_code == 2
    assert "two keys are renamed to 'x'" in twice.output
    broken = call("checkpoints", tmp_path / "old.pt", tmp_path / "step_2", "--map", "(=x")
    assert "not a pattern" in broken.output


def test_a_file_that_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(b"nothing")
    done = call("checkpoints", tmp_path / "a.pt", tmp_path / "a.pt")
    assert done.exit_code == 2
    assert "cannot be read as a checkpoint" in done.output


FLOATS = st.floats(allow_nan=False, allow_infinity=False, width=32)


@given(st.lists(FLOATS, min_size=1, max_size=5), st.data())
def test_a_changed_bit_is_a_distance(values: list[float], data: st.DataObject) -> None:
    one = torch.tensor(values)
    other = one.clone()
    at, bit = data.draw(st.integers(0, len(values) - 1)), data.draw(st.integers(0, 31))
    other.view(torch.int32)[at] ^= torch.tensor(1 << bit if bit < 31 else -(1 << 31), dtype=torch.int32)
    assert distance(one, one.clone()).num_different == 0
    assert distance(one, other).num_different == 1


@pytest.mark.parametrize(
    ("one", "other", "relative", "ulp"),
    [
        (torch.tensor([3.0, 4.0]), torch.tensor([3.0, 4.5]), 0.1, 2**20),
        (torch.tensor([1e-9]), torch.tensor([1e-6]), 999.0, None),
        (torch.tensor([1.0], dtype=torch.bfloat16), torch.tensor([1.0078125], dtype=torch.bfloat16), 2**-7, 1),
        (torch.tensor([0.0]), torch.tensor([-0.0]), 0.0, 0),
        (torch.tensor([2.0]), torch.tensor([-2.0]), 2.0, 2**31),
        (torch.tensor([5, 12]), torch.tensor([5, 0]), 12 / 13, None),
    ],
)
def test_distances(one: Tensor, other: Tensor, relative: float, ulp: float | None) -> None:
    found = distance(one, other)
    assert found.relative == pytest.approx(relative, rel=1e-4)
    if ulp is not None:
        assert found.max_ulp == ulp


def test_values_that_are_not_finite_have_their_places() -> None:
    nan = float("nan")
    assert distance(torch.tensor([1.0, nan]), torch.tensor([1.0, nan])).num_different == 0
    assert "other places" in str(distance(torch.tensor([1.0, nan]), torch.tensor([nan, 1.0])))
