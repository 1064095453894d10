"""JSON Lines: what counts as a line, errors with their place, workers."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from bem_core.errors import DataError
from bem_core.utils import json_lines
from bem_core.utils.data import JsonLines


def write(folder: Path, content: bytes) -> Path:
    path = folder / "data.jsonl"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("content", "values"),
    [
        pytest.param(b'{"a": 1}\n{"a": 2}\n', [{"a": 1}, {"a": 2}], id="plain"),
        pytest.param(b"1\n2", [1, 2], id="no-newline-at-the-end"),
        pytest.param(b"1\r\n2\r\n", [1, 2], id="crlf"),
        pytest.param(b"\n1\n\n \t\r\n2\n\n\n", [1, 2], id="blank-lines"),
        pytest.param(b"1\n   ", [1], id="blank-line-without-end"),
        pytest.param(b"  1\n\t2\n", [1, 2], id="indented"),
        pytest.param(b"\xef\xbb\xbf1\n2\n", [1, 2], id="byte-order-mark"),
        pytest.param(b"\xef\xbb\xbf\n1\n", [1], id="byte-order-mark-alone-in-its-line"),
        pytest.param('"\u2028\u00e9\\n"\n'.encode(), ["\u2028\u00e9\n"], id="separators-inside-a-text"),
        pytest.param(b"1", [1], id="one-byte"),
    ],
)
def test_lines(content: bytes, values: list[Any], tmp_path: Path) -> None:
    data = JsonLines(write(tmp_path, content))
    assert len(data) == len(values)
    assert list(data) == values
    assert [data[-1 - index] for index in range(len(values))] == values[::-1]
    data.validate()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(json_values, min_size=1, max_size=20),
    ascii_only=st.booleans(),
    end=st.sampled_from(["\n", "\r\n", "\n\n", "\n \n"]),
    chunk=st.integers(1, 50),
)
def test_any_values_come_back(values: list[Any], ascii_only: bool, end: str, chunk: int, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_lines, "_CHUNK_BYTES", chunk)
        path = write(tmp_path, end.join(json.dumps(value, ensure_ascii=ascii_only) for value in values).encode())
        assert list(JsonLines(path)) == values


@pytest.mark.parametrize(
    ("content", "index", "text"),
    [
        pytest.param(b'1\n\n{"a": }\n', 1, r":3:7: not JSON: Expecting value", id="json"),
        pytest.param(
            '1\n["\u00e9\u00e9", }\n'.encode(), 1, r":2:8: not JSON: Expecting value", id="column-in-characters"
        ),
        pytest.param(b'1\n"a\xff"\n', 1, r":2:3: not UTF-8: invalid start byte", id="bytes"),
        pytest.param(b'{"a": 1}{"b": 2}\n', 0, r":1:9: not JSON: Extra data", id="two-in-a-line"),
        pytest.param(b"[" * 100_000 + b"\n", 0, r":1: not JSON that can be read: .*recursion", id="too-deep"),
        pytest.param(b"9" * 5000 + b"\n", 0, r":1: not JSON that can be read: .*4300 digits", id="huge-number"),
    ],
)
def test_bad_line_has_its_place(content: bytes, index: int, text: str, tmp_path: Path) -> None:
    data = JsonLines(write(tmp_path, content))
    with pytest.raises(DataError, match=r"data\.jsonl" + text):
        data[index]


def test_validate_lists_the_first_places_and_counts(tmp_path: Path) -> None:
    data = JsonLines(write(tmp_path, b"1\n" + b"x\n" * 12))
    with pytest.raises(DataError) as caught:
        data.validate()
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[0].partition(".jsonl")[2] for line in lines[:-1]] == [f":{n}:1" for n in range(2, 12)]
    assert lines[-1] == "and 2 more"


@pytest.mark.parametrize(
    ("content", "text"),
    [(b"", "empty: expected one JSON value a line"), (b"\n \r\n", "no line in it"), (b"\xef\xbb\xbf", "no line in it")],
)
def test_nothing_in_the_file(content: bytes, text: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=text):
        JsonLines(write(tmp_path, content))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none: cannot be read: No such file or directory"):
        JsonLines(tmp_path / "none")
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        JsonLines(tmp_path)


def test_index_out_of_range(tmp_path: Path) -> None:
    data = JsonLines(write(tmp_path, b"1\n2\n"))
    for index in (2, -3):
        with pytest.raises(IndexError, match=f"no value {index}: there are 2"):
            data[index]
    assert data[np.int64(1)] == 2


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers(method: str, tmp_path: Path) -> None:
    data = JsonLines(write(tmp_path, b"".join(b'{"n": %d}\n' % n for n in range(40))))
    context = multiprocessing.get_context(method)
    loader = DataLoader(data, batch_size=4, num_workers=2, multiprocessing_context=context, collate_fn=list)
    assert [sample["n"] for batch in loader for sample in batch] == list(range(40))


def test_file_changed_between_processes_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path, b"1\n2\n")
    stored = pickle.dumps(JsonLines(path))
    assert list(pickle.loads(stored)) == [1, 2]
    path.write_bytes(b"10\n2\n")
    with pytest.raises(DataError, match="changed while it was in use"):
        pickle.loads(stored)[0]


def test_file_descriptors_are_not_kept(tmp_path: Path) -> None:
    path = write(tmp_path, b"1\n")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        JsonLines(path)[0]
    assert len(os.listdir("/proc/self/fd")) <= before + 2
