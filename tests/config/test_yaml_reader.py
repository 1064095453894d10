"""YAML to data: equal to what PyYAML makes of it, or one error that says where; never long, never large."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bem_core.config.merge import typed_equal
from bem_core.config.yaml_reader import LOADER, YamlError, parse, read

READ = [
    pytest.param("", {}, id="empty file"),
    pytest.param("# only a comment\n", {}, id="comment"),
    pytest.param(
        "a: 5e-5\nb: 5.0e-5\nc: 1e3\n", {"a": "5e-5", "b": 5e-5, "c": "1e3"}, id="number without a dot is text"
    ),
    pytest.param("a: yes\nb: 'yes'\nc: off\n", {"a": True, "b": "yes", "c": False}, id="booleans of YAML 1.1"),
    pytest.param("a: 010\nb: 0o10\nc: 0x10\n", {"a": 8, "b": "0o10", "c": 16}, id="octals"),
    pytest.param("a: 1:30\n", {"a": 90}, id="base 60"),
    pytest.param("a: ~\nb:\nc: null\n", {"a": None, "b": None, "c": None}, id="nulls"),
    pytest.param("a: .inf\nb: -0.0\n", {"a": float("inf"), "b": -0.0}, id="floats"),
    pytest.param("a: .nan\n", {"a": float("nan")}, id="nan"),
    pytest.param("a: 2024-01-02\n", {"a": datetime.date(2024, 1, 2)}, id="date"),
    pytest.param("a: ${x}\nb: ???\n", {"a": "${x}", "b": "???"}, id="placeholders"),
    pytest.param("{a: 1, b: [x, {c: 2}]}", {"a": 1, "b": ["x", {"c": 2}]}, id="flow style"),
    pytest.param("a: |\n  x\n  y\nb: >-\n  x\n  y\n", {"a": "x\ny\n", "b": "x y"}, id="block scalars"),
    pytest.param("a: 1\r\nb: |\r\n  x\r\n", {"a": 1, "b": "x\n"}, id="CRLF"),
    pytest.param("\ufeffa: 1\n", {"a": 1}, id="byte order mark"),
    pytest.param("2: a\ntrue: b\nnull: c\n", {2: "a", True: "b", None: "c"}, id="keys that are no texts"),
    pytest.param("a: &x {k: 1}\nb: *x\n", {"a": {"k": 1}, "b": {"k": 1}}, id="alias"),
    pytest.param(
        "a: &x {k: 1, l: 2}\nb: {<<: *x, k: 3}\n", {"a": {"k": 1, "l": 2}, "b": {"k": 3, "l": 2}}, id="merge key"
    ),
    pytest.param(
        "a: &x {k: 1}\nb: &y {k: 2, l: 3}\nc: {<<: [*x, *y]}\n",
        {"a": {"k": 1}, "b": {"k": 2, "l": 3}, "c": {"k": 1, "l": 3}},
        id="list of merge keys",
    ),
    pytest.param("a: !!str 1\nb: !!float 1\n", {"a": "1", "b": 1.0}, id="plain tags"),
    pytest.param("'<<': 1\n", {"<<": 1}, id="quoted merge key is data"),
]


@pytest.mark.parametrize(("text", "expected"), READ)
def test_read(text: str, expected: dict[Any, Any]) -> None:
    data = parse(text, "f.yaml").data
    assert typed_equal(data, expected)
    assert typed_equal(data, yaml.safe_load(text) or {})


REFUSED = [
    pytest.param("a: 1\nb: 2\na: 3\n", "3:1", "'a' is there already, in line 1", id="duplicate key"),
    pytest.param("a:\n  b: 1\n  'b': 2\n", "3:3", "in line 2", id="duplicate key in other quotes"),
    pytest.param("1: a\ntrue: b\n", "2:1", "in line 1", id="keys that are equal in Python"),
    pytest.param("a: {<<: {}, <<: {}}\n", "1:13", "'<<' is there already", id="two merge keys"),
    pytest.param("- a\n", "1:1", "expected a mapping at the top, found a list", id="list"),
    pytest.param("text\n", "1:1", "found a scalar", id="scalar"),
    pytest.param("a: 1\n---\nb: 2\n", "2:1", "several documents", id="several documents"),
    pytest.param("a: [1, 2\nb: 3\n", "2:", "", id="open bracket"),
    pytest.param("a:\n\tb: 1\n", "2:1", "cannot start any token", id="tab"),
    pytest.param("a: b: c\n", "1:5", "mapping values are not allowed", id="two colons"),
    pytest.param("a: x\x01y\n", "1:5", "a character that YAML does not allow", id="control character"),
    pytest.param("a: *x\n", "1:4", "alias", id="alias of nothing"),
    pytest.param("a: &x [*x]\n", "1:4", "from inside of it", id="alias of itself"),
    pytest.param(
        "a: !!python/object/apply:os.system [ls]\n", "1:4", "!!python/object/apply:os.system", id="python tag"
    ),
    pytest.param("a: !!python/name:os.system ''\n", "1:4", "not allowed", id="python name"),
    pytest.param("%TAG ! tag:yaml.org,2002:python/\n---\na: !none x\n", "3:4", "!!python/none", id="hidden python tag"),
    pytest.param("a: !mine {b: 1}\n", "1:4", "!mine", id="own tag"),
    pytest.param("a: !!set {x, y}\n", "1:4", "!!set", id="set"),
    pytest.param("a: !!binary aGk=\n", "1:4", "!!binary", id="binary"),
    pytest.param("? [a, b]\n: 1\n", "1:3", "a list cannot be a key", id="list as key"),
    pytest.param("? {a: b}\n: 1\n", "1:3", "a mapping cannot be a key", id="mapping as key"),
    pytest.param(".nan: 1\n", "1:1", "nan cannot be a key", id="nan as key"),
    pytest.param("a: {<<: 1}\n", "1:9", "expected a mapping to merge", id="merge of a number"),
    pytest.param("a: {<<: [1]}\n", "1:10", "expected a mapping to merge", id="merge of a list of numbers"),
    pytest.param("a: 2024-13-45\n", "1:4", "not a valid timestamp; quote it", id="no such day"),
    pytest.param("a: !!int x\n", "1:4", "not a valid int", id="tag that does not fit"),
    pytest.param("a: !!float ''\n", "1:4", "not a valid float", id="empty float"),
    pytest.param("a: !!bool x\n", "1:4", "not a valid bool", id="no boolean"),
]


@pytest.mark.parametrize(("text", "place", "words"), REFUSED)
def test_refused(text: str, place: str, words: str) -> None:
    with pytest.raises(YamlError) as error:
        parse(text, "f.yaml")
    assert str(error.value).startswith(f"f.yaml:{place}"), str(error.value)
    assert words in str(error.value)


def test_positions_count_characters_and_follow_aliases_and_merge_keys() -> None:
    document = parse("a: &x {é: [1, 2]}\r\nb: {<<: *x, c: 3}\n", "f.yaml")
    assert str(document.locate(("a", "é", 1))) == "f.yaml:1:15"
    assert str(document.locate(("b", "c"), key=True)) == "f.yaml:2:13"
    assert str(document.locate(("b", "é"), key=True)) == "f.yaml:1:8"
    assert str(document.locate(("b", "absent", "x"))) == "f.yaml:2:4"
    assert document.find(("b", "absent")) is None


def test_aliases_give_copies() -> None:
    data = parse("a: &x {k: [1]}\nb: *x\n", "f.yaml").data
    data["a"]["k"].append(2)
    assert data["b"] == {"k": [1]}


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        pytest.param(b"a: caf\xe9\n", "1: not UTF-8", id="latin 1"),
        pytest.param("a: 1\n".encode("utf-16"), "1: not UTF-8", id="UTF-16"),
        pytest.param(b"#" * (2 << 20), "larger than 1 MiB", id="huge"),
        pytest.param(None, "No such file", id="absent"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, raw: bytes | None, words: str) -> None:
    path = tmp_path / "f.yaml"
    if raw is not None:
        path.write_bytes(raw)
    with pytest.raises(YamlError, match=words) as error:
        read(path)
    assert str(path) in str(error.value)


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(YamlError, match="not a regular file"):
            read(path)


# Each is an expression, so that the process that reads it is the one that makes it.
HOSTILE = [
    pytest.param("'[' * 1_000_000", "larger than|nested", id="a million brackets"),
    pytest.param("'a: ' + '[' * 1_000 + ']' * 1_000", "nested more than 100", id="1,000 lists"),
    pytest.param("'{a: ' * 100_000", "nested more than 100", id="100,000 open mappings"),
    pytest.param("'- ' * 400_000", "nested more than 100", id="dashes in one line"),
    pytest.param("'? ' * 400_000", "nested more than 100", id="question marks in one line"),
    pytest.param("chr(10).join(' ' * n + 'a:' for n in range(1_000))", "nested more than 100", id="1,000 mappings"),
    pytest.param("'a: ' + '[' * 101 + ']' * 101", "nested more than 100", id="little more than allowed"),
    pytest.param(
        "'a0: &a0 [x]' + ''.join(f'\\na{n}: &a{n} [' + f'*a{n - 1},' * 10 + ']' for n in range(1, 40))",
        "more than 100000",
        id="alias bomb of lists",
    ),
    pytest.param(
        "'a0: &a0 {k: v}' + ''.join(f'\\na{n}: &a{n} {{<<: [' + f'*a{n - 1},' * 10 + ']}' for n in range(1, 40))",
        "more than 100000",
        id="alias bomb of merge keys",
    ),
    pytest.param(
        "'a: &a [' + 'x,' * 1_000 + ']\\nb: [' + '*a,' * 100_000 + ']'", "more than 100000", id="quadratic aliases"
    ),
    pytest.param("'a: ' + '1:' * 100_000 + '1'", "a number of 200001 characters", id="number in base 60"),
    pytest.param("'a: ' + '9' * 900_000", "a number of 900000 characters", id="long number"),
    pytest.param("'a: ' + '0x' + 'f' * 900_000", "a number of", id="long hexadecimal number"),
    pytest.param("'a: [' + '{a},' * 250_000 + ']'", "more than 100000", id="as many mappings as fit"),
    pytest.param("''.join(f'k{n}: 1\\n' for n in range(90_000))", "more than 100000", id="as many keys as fit"),
    pytest.param("'a: \"' + '\\\\x41' * 200_000 + '\"'", "", id="escapes"),
]
READER = """\
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
from bem_core.config import yaml_reader
try:
    yaml_reader.parse({expression}, "f.yaml")
except yaml_reader.YamlError as error:
    print(error)
"""


@pytest.mark.parametrize(("expression", "words"), HOSTILE)
def test_hostile_texts_take_little_time_and_memory(expression: str, words: str) -> None:
    # 1 GiB of address space, and a minute on a machine that may be busy: seconds are the rule.
    command = [sys.executable, "-c", READER.format(expression=expression)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    if words:
        assert any(word in done.stdout for word in words.split("|")), done.stdout
    else:
        assert done.stdout == ""


def test_without_libyaml_the_result_is_the_same() -> None:
    code = (
        "import yaml; del yaml.CSafeLoader\n"
        "from bem_core.config import yaml_reader\n"
        "assert yaml_reader.LOADER is yaml.SafeLoader\n"
        "assert yaml_reader.parse('a: [1, {b: 5e-5}]', 'f').data == {'a': [1, {'b': '5e-5'}]}\n"
        "for text in ('a: ' + '[' * 5_000, 'a: 1\\na: 2', 'a: 1\\n---\\nb: 2', 'a: [', 'a: x\\x01'):\n"
        "    try:\n"
        "        yaml_reader.parse(text, 'f')\n"
        "    except yaml_reader.YamlError as error:\n"
        "        print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    lines = done.stdout.splitlines()
    assert [line.split(": ")[0] for line in lines] == ["f:1:103", "f:2:1", "f:2:1", "f:1:5", "f:1:5"]


KEYS = st.one_of(st.text(max_size=5), st.integers(), st.booleans(), st.none(), st.dates())
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.dates(), st.datetimes()),
    lambda below: st.one_of(st.lists(below, max_size=3), st.dictionaries(KEYS, below, max_size=3)),
    max_leaves=10,
)


@given(st.dictionaries(KEYS, VALUES, max_size=4), st.sampled_from([None, True, False]))
def test_what_pyyaml_writes_is_read_as_pyyaml_reads_it(data: dict[Any, Any], flow: bool | None) -> None:
    text = yaml.safe_dump(data, default_flow_style=flow, sort_keys=False, allow_unicode=True)
    assert typed_equal(parse(text, "f.yaml").data, yaml.safe_load(text), order=True)


@given(st.text(alphabet="ab:-[]{},?&*!|>'\"#% \n\t.1", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        data = parse(text, "f.yaml").data
    except YamlError as error:
        assert str(error).startswith("f.yaml")  # noqa: PT017
    else:
        assert typed_equal(data, yaml.load(text, LOADER) or {})
