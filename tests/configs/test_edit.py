from __future__ import annotations

import textwrap
from typing import Any

import pytest

from bem_core.config.merge import merge, overlay, typed_equal
from migrate.configs.edit import rewrite
from migrate.configs.source import LeftAlone, Source, from_bytes


def source_of(text: str) -> Source:
    source = from_bytes("a.yaml", text.encode())
    assert isinstance(source, Source), source
    return source


BODY = """\
# What this file is

# Model
model:  # the network
  # width of it
  hidden: 8   # small

  layers: 2
  # betas: 0.9
# Training
training:
  lr: 1e-4

  steps: [1, 2]
tail: x
# the end
"""

# Text, what the base gives, what is left.
CASES: dict[str, tuple[str, dict[str, Any], str]] = {
    "a leaf takes its own comments along": (
        BODY,
        {"model": {"hidden": "int 8"}},
        BODY.replace("  # width of it\n  hidden: 8   # small\n", "").replace(
            "# Model\n", "base_config: templates/t.yaml\n# Model\n"
        ),
    ),
    "a whole block takes all inside it along, and the heading": (
        BODY,
        {"model": {"hidden": "int 8", "layers": "int 2"}},
        "# What this file is\n\nbase_config: templates/t.yaml\n" + BODY[BODY.index("# Training") :],
    ),
    "the last key": (
        BODY,
        {"tail": "'x'"},
        BODY.replace("tail: x\n", "").replace("# Model\n", "base_config: templates/t.yaml\n# Model\n"),
    ),
    "a list": (
        BODY,
        {"training": {"steps": "[int 1, int 2]"}},
        BODY.replace("\n  steps: [1, 2]\n", "").replace("# Model\n", "base_config: templates/t.yaml\n# Model\n"),
    ),
    "deleted keys are named where they would be": (
        "a:\n  b: 1\n  c: 2\nd: 3\n",
        {"a": {"b": "int 1", "x": "int 9"}, "y": "int 9"},
        "base_config: templates/t.yaml\n_delete_: [y]\na:\n  _delete_: [x]\n  c: 2\nd: 3\n",
    ),
    "a block with only a deletion keeps its key": (
        "a:\n  b: 1\nd: 3\n",
        {"a": {"b": "int 1", "x": "int 9"}},
        "base_config: templates/t.yaml\na:\n  _delete_: [x]\nd: 3\n",
    ),
    "an empty mapping over a full one": (
        "a: {}  # none\nd: 3\ne: 1\n",
        {"a": {"x": "int 9"}, "e": "int 1"},
        "base_config: templates/t.yaml\na: {_delete_: [x]}  # none\nd: 3\n",
    ),
    "keys that need quotes": (
        "a: {}\ne: 1\n",
        {"a": {"yes": "int 9"}, "1e3": "int 1", "e": "int 1", "x y": "int 1"},
        'base_config: templates/t.yaml\n_delete_: ["1e3", "x y"]\na: {_delete_: ["yes"]}\n',
    ),
    "windows line ends": (
        "# top\r\n\r\na: 1\r\nb: 2\r\n",
        {"a": "int 1"},
        "# top\r\n\r\nbase_config: templates/t.yaml\r\nb: 2\r\n",
    ),
    "no line end at the end": ("a: 1\nb: 2", {"b": "int 2"}, "base_config: templates/t.yaml\na: 1\n"),
    "everything goes": ("# mine\na: 1\n", {"a": "int 1"}, "# mine\nbase_config: templates/t.yaml\n"),
    "a document marker": ("---\na: 1\nb: 2\n", {"a": "int 1"}, "---\nbase_config: templates/t.yaml\nb: 2\n"),
    "braces": (
        "m: {a: 1, b: 2, c: 3}  # all\nd: 1\n",
        {"m": {"a": "int 1", "c": "int 3"}},
        "base_config: templates/t.yaml\nm: {b: 2}  # all\nd: 1\n",
    ),
    "braces, with a deletion": (
        "m: {a: 1, b: 2}\n",
        {"m": {"b": "int 2", "x": "int 1"}},
        "base_config: templates/t.yaml\nm: {_delete_: [x], a: 1}\n",
    ),
    "braces over several lines": (
        "m: {\n  a: 1,\n  b: {x: 1, y: 2},\n  c: 3,\n}\n",
        {"m": {"b": {"x": "int 1"}, "c": "int 3"}},
        "base_config: templates/t.yaml\nm: {\n  a: 1,\n  b: {y: 2},\n}\n",
    ),
    "JSON": (
        '{\n  "a": 1,\n  "b": {"c": [1]}\n}\n',
        {"b": {"c": "[int 1]"}},
        '{"base_config": "templates/t.yaml", \n  "a": 1\n}\n',
    ),
    "block scalars": (
        "a: |\n  x # no comment\n\n  y\n\nb: >-\n  z\nc: |+\n  k\n\nd: 1\n",
        {"b": "'z'", "d": "int 1"},
        "base_config: templates/t.yaml\na: |\n  x # no comment\n\n  y\n\nc: |+\n  k\n\n",
    ),
    "lists at the column of their key": (
        "a:\n- 1  # one\n# between\n- 2\nb: 1\n",
        {"b": "int 1"},
        "base_config: templates/t.yaml\na:\n- 1  # one\n# between\n- 2\n",
    ),
    "an indented file": ("  a: 1\n  b: 2\n", {"b": "int 2"}, "  base_config: templates/t.yaml\n  a: 1\n"),
    "null without a text": (
        "a:\nb:  # nothing\nc: 1\n",
        {"a": "NoneType None"},
        "base_config: templates/t.yaml\nb:  # nothing\nc: 1\n",
    ),
    "signs that are no comments": (
        "a: x#y\nb: '# no'\nc: 1\n",
        {"c": "int 1"},
        "base_config: templates/t.yaml\na: x#y\nb: '# no'\n",
    ),
}


@pytest.mark.parametrize(("text", "base", "expected"), CASES.values(), ids=CASES.keys())
def test_only_the_overlay_stays(text: str, base: dict[str, Any], expected: str) -> None:
    source = source_of(text)
    over = overlay(base, source.coded)
    new = rewrite(source, over, ["templates/t.yaml"])
    assert new.text == expected
    again = from_bytes("a.yaml", new.text.encode(), directives=True)
    assert isinstance(again, Source)
    assert typed_equal(again.coded, over)
    assert typed_equal(merge(base, again.coded), source.coded)


@pytest.mark.parametrize(("text", "base", "expected"), CASES.values(), ids=CASES.keys())
def test_every_comment_stays_or_is_handed_over(text: str, base: dict[str, Any], expected: str) -> None:
    source = source_of(text)
    new = rewrite(source, overlay(base, source.coded), ["templates/t.yaml"])
    handed = [comment.text for entry in new.removed for comment in source.layout.comments(entry)]
    for line in text.splitlines():
        mark = line.find("# ")
        if mark >= 0 and "'" not in line and "no comment" not in line:
            assert line[mark:] in handed or line[mark:] in new.text
            assert (line[mark:] in handed) != (line[mark:] in new.text)


REPLACED = {
    "in its place": ("a: 1\n# base\nbase_config: old.yaml\nb: 2\n", "a: 1\n# base\nbase_config: t.yaml\nb: 2\n", []),
    "with what stood beside it": (
        "base_config: old.yaml  # from the checkpoint\nb: 2\n",
        "base_config: t.yaml\nb: 2\n",
        ["# from the checkpoint"],
    ),
    "a list of bases": ("base_config:\n  - old.yaml\nb: 2\n", "base_config: t.yaml\nb: 2\n", []),
    "the same": ("base_config: 't.yaml'  # why\nb: 2\n", "base_config: 't.yaml'  # why\nb: 2\n", []),
}


@pytest.mark.parametrize(("text", "expected", "lost"), REPLACED.values(), ids=REPLACED.keys())
def test_an_old_line_of_bases_is_replaced(text: str, expected: str, lost: list[str]) -> None:
    source = source_of(text)
    new = rewrite(source, source.coded, ["t.yaml"])
    assert new.text == expected
    assert [comment.text for comment in new.lost] == lost


def test_an_old_line_of_bases_goes_with_its_comments() -> None:
    source = source_of("a: 1\n# base\nbase_config: old.yaml\nb: 2\n")
    new = rewrite(source, source.coded, [])
    assert new.text == "a: 1\nb: 2\n"
    assert [comment.text for comment in new.lost] == ["# base"]


ALONE = {
    "does not parse": ("a: [1\n", "line 2: "),
    "tabs for indentation": ("a:\n\tb: 1\n", "line 2: "),
    "duplicate keys": ("a: 1\nb: 2\na: 3\n", "line 3: the key 'a' is there already, in line 1"),
    "duplicate keys below": ("x:\n  a: 1\n  a: 2\n", "line 3: the key 'a' is there already, in line 2"),
    "several documents": ("a: 1\n---\nb: 1\n", "line 2: several documents; one is expected"),
    "anchor": ("a: &x 1\nb: 2\n", "line 1: an anchor or alias ('x')"),
    "alias": ("a: &x [1]\nb: *x\n", "line 1: an anchor or alias ('x')"),
    "merge key": ("a: {b: 1}\n<<: {c: 1}\n", "line 2: a merge key"),
    "tag": ("a: !!str 1\n", "line 1: a tag"),
    "python tag": ("a: !!python/object:os.system x\n", "line 1: a tag"),
    "directive": ("%YAML 1.1\n---\na: 1\n", "line 1: a YAML directive"),
    "list at the top": ("- 1\n", "line 1: expected a mapping at the top, found a list"),
    "scalar at the top": ("x\n", "line 1: expected a mapping at the top, found a scalar"),
    "empty": ("# nothing\n", "empty"),
    "number as a key": ("a: 1\n1: 2\n", "line 2: the key '1' is not a text (int 1)"),
    "yes as a key": ("on: 1\n", "line 1: the key 'on' is not a text (bool True in YAML 1.1, 'on' in YAML 1.2)"),
    "null as a key": ("a: {~: 1}\n", "line 1: the key '~' is not a text (NoneType None)"),
    "list as a key": ("? [a]\n: 1\n", "line 1: a list cannot be a key"),
    "question mark": ("? a\n: 1\n", "line 1"),
    "question mark in braces": ("a: {? b : 1}\n", "a key with a question mark"),
    "directive name as data": ("a:\n  _delete_: [b]\n", "line 2: the key '_delete_', which means something"),
    "escaped directive name": ("base_config_: 1\n", "line 1: the key 'base_config_', which means something"),
    "other line ends": ("a: 1\rb: 2\r", "line 1: a line end other than LF and CRLF"),
    "octal number that is a text in YAML 1.1": (f"a: 0o{'7' * 6000}\n", "'0o7777"),
    "line separator": ("a: x\u2028y\n", "line 1: a line end other than LF and CRLF"),
}


@pytest.mark.parametrize(("text", "reason"), ALONE.values(), ids=ALONE.keys())
def test_what_cannot_be_handled_is_left_alone_with_a_reason(text: str, reason: str) -> None:
    found = from_bytes("a.yaml", text.encode())
    assert isinstance(found, LeftAlone)
    assert found.reason.startswith(reason)


@pytest.mark.parametrize("raw", [b"a: \xff\n", b"\xff\xfea\x00:\x00", b"a: 1\0"], ids=["latin", "utf-16", "nul"])
def test_bytes_that_are_no_text_are_left_alone(raw: bytes) -> None:
    assert isinstance(from_bytes("a.yaml", raw), LeftAlone)


def test_a_byte_order_mark_comes_back() -> None:
    source = from_bytes("a.yaml", b"\xef\xbb\xbfa: 1\nb: 2\n")
    assert isinstance(source, Source)
    new = rewrite(source, {"b": "int 2"}, ["t.yaml"])
    assert source.bytes_of(new.text) == b"\xef\xbb\xbfbase_config: t.yaml\nb: 2\n"


CODES = {
    "the same": ("1", "0b1", True),
    "int and float": ("1", "1.0", False),
    "int and bool": ("1", "true", False),
    "yes is true in one version only": ("yes", "true", False),
    "octal is eight in one version only": ("010", "8", False),
    "5e-5 is a text in one version only": ("5e-5", "'5e-5'", False),
    "quoted and plain text": ("abc", '"abc"', True),
    "nan": (".nan", ".NaN", True),
    "signed zero": ("-0.0", "0.0", False),
    "date and text": ("2024-01-01", "'2024-01-01'", False),
    "null": ("~", "", True),
    "empty text": ("''", "", False),
    "interpolation": ("${a.b}", "'${a.b}'", True),
    "lists": ("[1, [a]]", "\n- 1\n- - a", True),
    "order in a list": ("[1, 2]", "[2, 1]", False),
    "mappings in a list": ("[{a: 1, b: 2}]", "[{b: 2, a: 1}]", True),
    "list and text": ("[]", "'[]'", False),
}


@pytest.mark.parametrize(("one", "other", "same"), CODES.values(), ids=CODES.keys())
def test_values_are_the_same_when_both_versions_of_yaml_say_so(one: str, other: str, same: bool) -> None:
    codes = [source_of(textwrap.dedent(f"a: {value}\n")).coded["a"] for value in (one, other)]
    assert (codes[0] == codes[1]) is same
