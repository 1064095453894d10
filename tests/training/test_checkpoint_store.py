"""Saving and loading trees: bit-exact, and an error for whatever is not what was saved."""

from __future__ import annotations

import json
import math
import random
import re
import struct
from collections import OrderedDict, namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn

from bem_core.errors import CheckpointError
from bem_core.training.checkpoint import load_tree, read_meta, save_tree
from bem_core.utils.seeding import rng_state
from tests.training.checkpoint_trees import assert_same

# A NaN with a payload of its own.
ODD_NAN = struct.unpack(">d", bytes.fromhex("fff8000000000123"))[0]

TENSORS = {
    "scalar": torch.tensor(1.5),
    "empty": torch.empty(0, 3),
    "transposed": torch.arange(6.0).reshape(2, 3).T,
    "strided": torch.arange(10)[::2],
    "offset": torch.arange(10.0)[3:],
    "expanded": torch.ones(1, 3).expand(2, 3),
    "bool": torch.tensor([True, False]),
    "bfloat16": torch.tensor([1.0, math.nan, -0.0], dtype=torch.bfloat16),
    "float8_e4m3": torch.tensor([1.0, 0.5]).to(torch.float8_e4m3fn),
    "float8_e5m2": torch.tensor([[1.0], [0.5]]).to(torch.float8_e5m2),
    "float8_unusual": torch.tensor([1.0, 0.5]).to(torch.float8_e8m0fnu),
    "complex64": torch.tensor([[1 + 2j, 3 - 1j]]),
    "complex128": torch.tensor(1 + 2j, dtype=torch.complex128),
    "complex_empty": torch.empty(2, 0, dtype=torch.complex64),
    "conjugated": torch.tensor([1 + 2j]).conj(),
    "negated": torch.tensor([1 + 2j]).conj().imag,
    "uint16": torch.tensor([1, 65535], dtype=torch.uint16),
    "uint64": torch.tensor([2**63], dtype=torch.uint64),
    "int8": torch.tensor([-128], dtype=torch.int8),
    "requires_grad": torch.ones(2, requires_grad=True),
    "nan": torch.tensor([math.nan, math.inf, -math.inf, -0.0]),
}


@pytest.mark.parametrize("name", TENSORS)
def test_tensor_comes_back(name: str, tmp_path: Path) -> None:
    save_tree(tmp_path / "c", {"part": {name: TENSORS[name]}})
    assert_same(load_tree(tmp_path / "c"), {"part": {name: TENSORS[name].detach()}})


plain = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**63, -(2**63), -(2**63) - 1, 10**4000]),
    st.floats(),
    st.just(ODD_NAN),
    st.text(),
    st.builds(
        lambda shape, dtype: torch.arange(math.prod(shape)).reshape(shape).to(dtype),
        st.lists(st.integers(0, 3), max_size=3),
        st.sampled_from([torch.float32, torch.bfloat16, torch.int64, torch.bool, torch.complex64]),
    ),
)
keys = st.one_of(st.text(), st.integers(), st.sampled_from(["$tensor", "$dict", "a.b", "__metadata__"]))
nested = st.recursive(
    plain,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(keys, inner, max_size=4),
    ),
    max_leaves=12,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=st.dictionaries(st.sampled_from(["model", "optimizer", "x-1.y"]), nested, max_size=3))
def test_any_tree_comes_back(tree: dict[str, Any], tmp_path: Path) -> None:
    save_tree(tmp_path / "c", tree)
    assert_same(load_tree(tmp_path / "c"), tree)


def test_training_state_comes_back_and_goes_on(tmp_path: Path) -> None:
    def make() -> tuple[nn.Module, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 1))
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
        return model, optimizer, torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=9)

    def step(model: nn.Module, optimizer: torch.optim.Optimizer, scheduler: Any) -> None:
        model(torch.ones(2, 4)).sum().backward()
        optimizer.step()
        scheduler.step()

    first = make()
    step(*first)
    saved = dict(zip(("model", "optimizer", "scheduler"), (one.state_dict() for one in first), strict=True))
    save_tree(tmp_path / "c", {**saved, "rng": rng_state()})
    second = make()
    loaded = load_tree(tmp_path / "c")
    for one, part in zip(second, ("model", "optimizer", "scheduler"), strict=True):
        one.load_state_dict(loaded[part])
    for state in (first, second):
        state[1].zero_grad()
        step(*state)
    assert_same(second[0].state_dict(), first[0].state_dict())
    assert_same(second[1].state_dict(), first[1].state_dict())


def test_ordered_dicts_and_parameters_become_plain(tmp_path: Path) -> None:
    save_tree(tmp_path / "c", {"a": OrderedDict(w=nn.Parameter(torch.ones(1)))})
    assert_same(load_tree(tmp_path / "c"), {"a": {"w": torch.ones(1)}})


def test_tied_tensors_are_stored_once_and_tied_again(tmp_path: Path) -> None:
    weight = torch.ones(1000, 10)
    tree = {"model": {"embedding": weight, "head": weight, "alike": weight.clone(), "view": weight[:1]}}
    save_tree(tmp_path / "c", tree)
    loaded = load_tree(tmp_path / "c")["model"]
    assert_same(loaded, tree["model"])
    assert loaded["embedding"] is loaded["head"]
    assert loaded["embedding"] is not loaded["alike"]
    assert (tmp_path / "c" / "model.safetensors").stat().st_size < 2 * weight.nbytes + 2000
    manifest = json.loads((tmp_path / "c" / "manifest.json").read_text())["manifest"]
    assert manifest["aliases"] == {"model": {"head": "embedding"}}


def test_library_reads_the_files_under_the_names_of_the_state_dict(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).to(torch.bfloat16)
    save_tree(tmp_path / "c", {"model": model.state_dict(), "plain": [1]})
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == [
        "manifest.json",
        "model.safetensors",
        "state.json",
    ]
    loaded = load_file(tmp_path / "c" / "model.safetensors")
    assert_same(dict(sorted(loaded.items())), dict(sorted(model.state_dict().items())))


def test_library_reads_every_type_and_every_tensor_is_aligned(tmp_path: Path) -> None:
    native = {name: TENSORS[name].detach() for name in TENSORS if "complex" not in name and "unusual" not in name}
    del native["conjugated"], native["uint16"], native["uint64"]
    save_tree(tmp_path / "c", {"all": native})
    loaded = load_file(tmp_path / "c" / "all.safetensors")
    for name, tensor in native.items():
        assert_same(loaded[name], tensor)
    data = (tmp_path / "c" / "all.safetensors").read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    assert header.pop("__metadata__") == {"format": "pt"}
    for name, entry in header.items():
        assert (8 + size + entry["data_offsets"][0]) % native[name].element_size() == 0


def test_parts_can_be_read_alone(tmp_path: Path) -> None:
    save_tree(tmp_path / "c", {"model": torch.ones(1), "optimizer": torch.zeros(1)})
    (tmp_path / "c" / "optimizer.safetensors").write_bytes(b"x" * (tmp_path / "c/optimizer.safetensors").stat().st_size)
    assert_same(load_tree(tmp_path / "c", parts=["model"]), {"model": torch.ones(1)})
    with pytest.raises(CheckpointError, match=r"has no part 'modle'; did you mean 'model'\?; it has model, optimizer"):
        load_tree(tmp_path / "c", parts=["modle"])


def test_meta_is_read_without_the_rest(tmp_path: Path) -> None:
    save_tree(tmp_path / "c", {}, meta={"step": 3, "metric": math.inf, 1: (None,)})
    assert_same(read_meta(tmp_path / "c"), {"step": 3, "metric": math.inf, 1: (None,)})


def cyclic() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


Point = namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param({"f": [1, lambda: 0]}, "a.f.1: function", id="lambda"),
        pytest.param({"x": {3: Path("x")}}, "a.x.3: pathlib.", id="object"),
        pytest.param(np.float64(1), "a: numpy.float64", id="numpy-float"),
        pytest.param(Point(1, 2), "a: tests.training.test_checkpoint_store.Point", id="named-tuple"),
        pytest.param({True: 1}, "a.True: a key of type bool", id="key"),
        pytest.param({"s": {1}}, "a.s: set", id="set"),
        pytest.param(torch.ones(2).to_sparse(), "a: a tensor of layout torch.sparse_coo", id="sparse"),
        pytest.param(torch.ones(2, device="meta"), "a: a tensor on the meta device", id="meta"),
        pytest.param(nn.UninitializedParameter(), "a: torch.nn.parameter.UninitializedParameter", id="lazy"),
        pytest.param(cyclic(), "a.0.0: nested deeper than 100, or contains itself", id="cycle"),
        pytest.param({"u": 1j, "v": b""}, "a.u: complex; a.v: bytes", id="all-at-once"),
        pytest.param([object] * 12, "a.9: type and 2 more", id="many"),
    ],
)
def test_what_cannot_be_stored(value: Any, text: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="^cannot be stored in a checkpoint: .*" + re.escape(text)):
        save_tree(tmp_path / "c", {"a": value})
    assert list(tmp_path.iterdir()) == []


def test_greatest_depth_comes_back(tmp_path: Path) -> None:
    tree: Any = 1
    for level in range(100):
        tree = {1: tree} if level % 2 else (tree,)
    save_tree(tmp_path / "c", {"a": tree})
    assert_same(load_tree(tmp_path / "c"), {"a": tree})


@pytest.mark.parametrize("name", ["", "a/b", "..", ".a", "a b"])
def test_bad_part_names(name: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is no name for a part"):
        save_tree(tmp_path / "c", {name: 1})


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    tree = {"model": {"w": torch.arange(4.0), "b": torch.ones(2, dtype=torch.bfloat16)}, "trainer": {"step": 5}}
    save_tree(tmp_path / "c", tree, meta={"step": 5})
    return tmp_path / "c"


@pytest.mark.parametrize("name", ["manifest.json", "state.json", "model.safetensors"])
def test_every_flipped_byte_is_found(name: str, saved: Path) -> None:
    data = (saved / name).read_bytes()
    random.seed(0)
    for index in range(len(data)):
        changed = bytearray(data)
        changed[index] ^= 1 << random.randrange(8)
        (saved / name).write_bytes(changed)
        with pytest.raises(CheckpointError, match=re.escape(str(saved / name))):
            load_tree(saved)


@pytest.mark.parametrize("name", ["manifest.json", "state.json", "model.safetensors"])
def test_missing_or_truncated_files_are_named(name: str, saved: Path) -> None:
    data = (saved / name).read_bytes()
    for end in (0, 7, len(data) // 2, len(data) - 1):
        (saved / name).write_bytes(data[:end])
        with pytest.raises(CheckpointError, match=re.escape(str(saved / name))):
            load_tree(saved)
    (saved / name).unlink()
    with pytest.raises(CheckpointError, match=re.escape(name)):
        load_tree(saved)


def test_damaged_tensor_is_named(saved: Path) -> None:
    data = bytearray((saved / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (saved / "model.safetensors").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"c/model\.safetensors: damaged: tensor 'b' is not what was saved"):
        load_tree(saved)


def test_file_of_another_checkpoint_is_noticed(saved: Path, tmp_path: Path) -> None:
    other = {"model": {"v": torch.arange(4.0), "b": torch.ones(2, dtype=torch.bfloat16)}}
    save_tree(tmp_path / "other", other)
    (tmp_path / "other" / "model.safetensors").replace(saved / "model.safetensors")
    with pytest.raises(CheckpointError, match="the header is not what was saved"):
        load_tree(saved)


def test_newer_format_is_refused(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bem_core.training.checkpoint_store.FORMAT", 2)
    save_tree(saved, {"a": 1})
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="format 2 is not known here, only 1"):
        load_tree(saved)


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch], ids=["empty-folder", "file"])
def test_no_checkpoint(make: Any, tmp_path: Path) -> None:
    make(tmp_path / "c")
    with pytest.raises(CheckpointError, match=re.escape(str(tmp_path / "c"))):
        load_tree(tmp_path / "c")
    with pytest.raises(CheckpointError, match=r"no checkpoint: manifest\.json is missing"):
        load_tree(tmp_path / "nothing")


def test_saving_over_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    for name in ("file", "folder", "link"):
        with pytest.raises(CheckpointError, match=f"{name}: is in the way"):
            save_tree(tmp_path / name, {"a": 1})
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "file", "folder", "link"]


def test_a_checkpoint_is_replaced_and_an_empty_folder_used(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path in (saved, tmp_path / "empty"):
        save_tree(path, {"a": 1})
        assert load_tree(path) == {"a": 1}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "empty"]
