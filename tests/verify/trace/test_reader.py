"""A trace is complete only as it was written; all that is before a cut can be read."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest

from migrate.verify.trace.reader import Trace, TraceError, read_trace
from migrate.verify.trace.recording.stream import Writer, seal
from tests.verify.trace.samples import A, B, footer, header, names, step, whole, write


def test_a_complete_trace(tmp_path: Path) -> None:
    trace = read_trace(whole(tmp_path / "run.trace"))
    assert trace.complete
    assert trace.problem is None
    assert [step.number for step in trace.steps] == [0, 1, 2]
    last = trace.steps[-1]
    assert trace.names_of(last).members(0) == [["weight"], ["bias"]]
    assert last.tensors == {
        "parameters": {"weight": A, "bias": B},
        "gradients": {"weight": A, "bias": None},
        "buffers": {"mean": B},
        "state": {"weight.momentum": A},
    }


def test_gzip_and_json_read_it(tmp_path: Path) -> None:
    lines = gzip.decompress(whole(tmp_path / "run.trace").read_bytes()).splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["header", "names", "step", "step", "step", "footer"]


def test_it_can_be_read_while_it_is_written(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "run.trace")
    for number, record in enumerate([header(), names(), step(0), step(1)]):
        writer.write(record)
        writer.flush()
        trace = read_trace(writer.path)
        assert len(trace.steps) == max(0, number - 1)
        assert "no footer" in str(trace.problem)
    writer.close()


@pytest.mark.parametrize(
    ("head", "end", "problem"),
    [
        pytest.param({}, [], "no footer", id="no-footer"),
        pytest.param({}, [footer(1, exception="ValueError: no")], "ended with ValueError: no", id="exception"),
        pytest.param({}, [footer(1, error="OSError: full")], "tracer failed: OSError: full", id="error-of-the-tracer"),
        pytest.param({"launched": True}, [footer(1)], "no exit code", id="no-exit"),
        pytest.param(
            {"launched": True},
            [footer(1), {"kind": "exit", "code": 3, "timed_out": False}],
            "exit code 3",
            id="exit-code",
        ),
        pytest.param(
            {"launched": True}, [footer(1), {"kind": "exit", "code": 0, "timed_out": True}], "too long", id="timeout"
        ),
        pytest.param({"launched": True}, [footer(1), {"kind": "exit", "code": 0, "timed_out": False}], None, id="good"),
    ],
)
def test_how_a_run_ended(tmp_path: Path, head: dict[str, Any], end: list[dict[str, Any]], problem: str | None) -> None:
    trace = read_trace(write(tmp_path / "run.trace", [header(**head), names(), step(0), *end]))
    assert len(trace.steps) == 1
    assert trace.complete == (problem is None)
    assert (problem or "None") in str(trace.problem)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "not a trace", id="empty"),
        pytest.param(b"step 1 loss 0.5\n" * 100, "not a trace", id="text"),
        pytest.param(gzip.compress(b'{"kind":"header"}\n'), "not a trace", id="other-gzip"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "run.trace"
    path.write_bytes(content)
    with pytest.raises(TraceError, match=message) as caught:
        read_trace(path)
    assert str(path) in str(caught.value)


def test_other_versions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="format 2: expected 1"):
        read_trace(write(tmp_path / "run.trace", [header(format=2)]))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="cannot be read: No such file"):
        read_trace(tmp_path / "none.trace")


def read(path: Path) -> Trace | None:
    try:
        return read_trace(path)
    except TraceError:
        return None


def damaged(data: bytes, chance: random.Random) -> bytes:
    """Return other bytes: cut off, changed, or with some dropped, doubled, added."""
    at = chance.randrange(len(data))
    kind = chance.choice(["cut", "bit", "byte", "drop", "double", "add", "swap"])
    if kind == "cut":
        return data[:at]
    if kind == "bit":
        return data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :]
    if kind == "byte":
        return data[:at] + chance.randbytes(chance.randint(1, 20)) + data[at + 20 :]
    if kind == "drop":
        return data[:at] + data[at + chance.randint(1, 200) :]
    if kind == "double":
        return data[: at + 1] + data[at:]
    if kind == "add":
        return data + chance.randbytes(chance.randint(1, 50))
    other = chance.randrange(len(data))
    first, second = sorted((at, other))
    return data[:first] + data[second:] + data[first:second]


def test_a_thousand_damaged_files_are_never_complete(tmp_path: Path) -> None:
    path = whole(tmp_path / "run.trace", steps=12)
    data, steps, chance, tried = path.read_bytes(), read_trace(path).steps, random.Random(6), 0
    while tried < 1000:
        other = damaged(data, chance)
        if other == data:
            continue
        tried += 1
        path.write_bytes(other)
        trace = read(path)
        if trace is not None:
            assert not trace.complete
            assert trace.steps == steps[: len(trace.steps)]


def test_every_bit_counts(tmp_path: Path) -> None:
    """All bits of the head and of the end, which decompression ignores in part, and some of each byte between."""
    path = whole(tmp_path / "run.trace", steps=1)
    data = path.read_bytes()
    last = len(data) * 8
    for place in (*range(100), *range(100, last - 500, 5), *range(last - 500, last)):
        changed = bytearray(data)
        changed[place // 8] ^= 1 << place % 8
        path.write_bytes(changed)
        trace = read(path)
        assert trace is None or not trace.complete, f"bit {place}"


def test_records_of_another_run_do_not_follow(tmp_path: Path) -> None:
    """Two files that are each whole do not make one when they are joined."""
    one, other = whole(tmp_path / "one"), whole(tmp_path / "other")
    joined = tmp_path / "joined"
    joined.write_bytes(one.read_bytes() + other.read_bytes())
    seal(joined)
    assert not read_trace(joined).complete
