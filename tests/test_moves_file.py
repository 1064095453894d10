"""Reading lists of moves: forms, keys, and every problem at its place."""

import json
import pickle
import re
import textwrap
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bem_core.errors import ConfigError
from migrate.moves import Move, Moves
from migrate.moves_file import MovesError, load, parse, shipped


def problems(text: str, source: str = "m.yaml") -> list[str]:
    with pytest.raises(MovesError) as caught:
        parse(text, source)
    lines = str(caught.value).split("\n")
    assert all(line.startswith(source) for line in lines)
    return [line.removeprefix(source) for line in lines]


def attempt(text: str, source: str) -> Moves | list[str]:
    try:
        return parse(text, source)
    except MovesError as error:
        return str(error).split("\n")


def entry(fields: str) -> str:
    return f"version: 1\nmoves:\n  - {{{fields}}}\n"


def summary(moves: Moves) -> dict[str, tuple[str, str, str]]:
    return {old: (move.kind, move.module, move.attr) for old, move in moves.entries.items()}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param("old: a.b, new: c.d", {"a.b": ("auto", "c.d", "")}, id="kind not said"),
        pytest.param("old: a, new: c", {"a": ("auto", "c", "")}, id="top-level"),
        pytest.param("old: a.b, new: c, kind: module", {"a.b": ("module", "c", "")}, id="module"),
        pytest.param("old: a.b, new: c.d, kind: symbol", {"a.b": ("symbol", "c", "d")}, id="symbol"),
        pytest.param("old: a.b, new: 'c.d:E.f'", {"a.b": ("symbol", "c.d", "E.f")}, id="colon in new"),
        pytest.param("old: 'a:b', new: 'c.d'", {"a.b": ("symbol", "c", "d")}, id="colon in old"),
        pytest.param("old: 'a:b.c', new: 'c:d'", {"a.b.c": ("symbol", "c", "d")}, id="colon in both"),
        pytest.param("old: a.b, new: 'c:d', kind: symbol", {"a.b": ("symbol", "c", "d")}, id="colon and kind"),
        pytest.param("old: [a.x, a.y], new: a.z", {"a.x": ("auto", "a.z", ""), "a.y": ("auto", "a.z", "")}, id="merge"),
        pytest.param("old: a.match, new: a.type", {"a.match": ("auto", "a.type", "")}, id="soft keywords"),
        pytest.param("old: a.größe, new: a.b", {"a.größe": ("auto", "a.b", "")}, id="not ASCII"),
        pytest.param("old: a, removed: gone", {"a": ("auto", "", "")}, id="removed"),
        pytest.param("old: 'a:b', removed: gone", {"a.b": ("symbol", "", "")}, id="removed symbol"),
        pytest.param("old: a, removed: gone, kind: module", {"a": ("module", "", "")}, id="removed module"),
        pytest.param("old: a.B, new: 'c:B', shim_only: why", {"a.B": ("symbol", "c", "B")}, id="shim_only"),
        pytest.param(
            "old: a, split: {b: [f, G.h], c: [i]}, new: d",
            {
                "a.f": ("symbol", "b", "f"),
                "a.G.h": ("symbol", "b", "G.h"),
                "a.i": ("symbol", "c", "i"),
                "a": ("module", "d", ""),
            },
            id="split and the rest",
        ),
        pytest.param(
            "old: a.b, split: {b: [f]}, new: a.b", {"a.b.f": ("symbol", "b", "f")}, id="split, the rest stays"
        ),
        pytest.param(
            "old: a, split: {a.x: [f], b: [g]}",
            {"a.f": ("symbol", "a.x", "f"), "a.g": ("symbol", "b", "g")},
            id="split into submodules: the package stays",
        ),
    ],
)
def test_entry(fields: str, expected: dict[str, tuple[str, str, str]]) -> None:
    assert summary(parse(entry(fields), "m.yaml")) == expected


def test_every_field() -> None:
    text = """\
    version: 1
    moves:
      # since is a number in YAML, whose last zero counts
      - old: a.B
        new: c:B
        shim_only: >
          takes a config
          object
        since: 0.10
        removed_in: 2
        note: "text"
    """
    assert parse(textwrap.dedent(text), "m.yaml").entries["a.B"] == Move(
        old="a.B",
        module="c",
        attr="B",
        kind="symbol",
        shim_only="takes a config object",
        since="0.10",
        removed_in="2",
        note="text",
        line=4,
    )


def test_split_without_a_rest_removes_the_module() -> None:
    moves = parse(entry("old: p.m, split: {p.a: [f], p.b: [g]}, since: '1'"), "m.yaml")
    target = moves.resolve("p.m.h")
    assert target is not None
    assert target.move.removed == "p.m was split into p.a, p.b: import the name from there"
    assert {move.since for move in moves.entries.values()} == {"1"}
    moved = moves.resolve("p.m.f.x")
    assert moved is not None
    assert (moved.module, moved.attr) == ("p.a", "f.x")


@pytest.mark.parametrize(
    ("text", "source"),
    [
        pytest.param("a.b: c.d\nx:y: z:w\n", "m.yaml", id="YAML"),
        pytest.param("# list\n'a.b': \"c.d\" # one\n\n? x:y\n: z:w\n", "m.yml", id="YAML styles"),
        pytest.param('{"a.b": "c.d", "x:y": "z:w"}', "m.json", id="JSON"),
        pytest.param('\n\t{\n\t"a.b"\t:\t"c.d"\t,\n\t"x:y":\n\t"z:w"\t}\n', "m.json", id="JSON with tabs"),
        pytest.param('{\n\t"a.b":\t"c.d",\n\t"x:y": "z:w"\n}', "m.yaml", id="JSON by another name"),
        pytest.param('{"a.b":"c.d","x:y":"z:w"}', "m.json", id="JSON without spaces"),
        pytest.param('{"$schema": "./s.json", "a\\u002eb": "c.d", "x:y": "z:w"}', "m.json", id="JSON with a schema"),
        pytest.param("\ufeffa.b: c.d\r\nx:y: z:w\r\n", "m.yaml", id="BOM, CRLF"),
    ],
)
def test_short_form(text: str, source: str) -> None:
    assert summary(parse(text, source)) == {"a.b": ("auto", "c.d", ""), "x.y": ("symbol", "z", "w")}


def test_json_long_form_with_a_note_beyond_16_bits() -> None:
    fields = {"old": "a", "new": "b", "note": "\U0001f680 \\ud83d\\ude80", "since": "1"}
    text = json.dumps({"$schema": "x", "version": 1, "moves": [fields]}, indent="\t")
    assert parse(text, "m.json").entries["a"].note == fields["note"]


@pytest.mark.parametrize("text", ["{}", "version: 1\nmoves: []"])
def test_no_moves(text: str) -> None:
    assert parse(text, "m.yaml").entries == {}


def test_modules_called_like_the_keys() -> None:
    moves = parse("moves: pkg.moves\nversion: pkg.version\n", "m.yaml")
    assert sorted(moves.entries) == ["moves", "version"]


LINES_AND_COLUMNS = """\
version: 1
moves:
  - {old: [a.x, a.y], new: b}
  - old: c
    split:
      d: [f,
          g]
    new: e
"""


def test_lines() -> None:
    lines = {old: move.line for old, move in parse(LINES_AND_COLUMNS, "m.yaml").entries.items()}
    assert lines == {"a.x": 3, "a.y": 3, "c.f": 6, "c.g": 7, "c": 4}


@pytest.mark.parametrize(
    ("text", "start", "said"),
    [
        pytest.param("", ":1:1", "file is empty", id="empty"),
        pytest.param("# nothing\n", ":1:1", "file is empty", id="comment"),
        pytest.param("null", ":1:1", "holds nothing", id="null"),
        pytest.param("- a\n", ":1:1", "holds a list", id="list"),
        pytest.param("a", ":1:1", "holds a text", id="text"),
        pytest.param("a: b\n c: [", ":2:3", "not valid YAML", id="syntax"),
        pytest.param("a: b\n\tc: d", ":2:1", "not valid YAML", id="tab"),
        pytest.param("a: b\n---\nc: d\n", ":2:1", "another document", id="two documents"),
        pytest.param("a: b\x00", ":1", "not valid YAML", id="null character"),
        pytest.param("a: \ud800", "", "not valid", id="half a surrogate pair"),
        pytest.param("a: b\na: c\n", ":2:1", "'a' is given twice, first at line 1", id="old name twice"),
        pytest.param("a.b: c\na:b: c.d\n", ":2:1", "'a.b' has two new names: 'c' at line 1 and 'c.d'", id="colon"),
        pytest.param("a: {new: b}", ":1:4", "'a' is a mapping", id="keys in the short form"),
        pytest.param("a: [b]", ":1:4", "expected a new name", id="list in the short form"),
        pytest.param("a:\n", ":1:3", "new name is nothing", id="no new name"),
        pytest.param("a: yes", ":1:4", "new name is a boolean (yes); expected a dotted name", id="boolean"),
        pytest.param("on: a", ":1:1", "old name is a boolean (on)", id="boolean key"),
        pytest.param("1: a", ":1:1", "old name is a number (1)", id="number"),
        pytest.param("[a]: b", ":1:1", "a key is a list", id="list as a key"),
        pytest.param("moves: []", ":1:1", "key 'version' is missing", id="no version"),
        pytest.param("version: 2\nmoves: []", ":1:10", "'version' is a number (2); expected 1", id="version"),
        pytest.param("version: 1", ":1:1", "key 'moves' is missing", id="no moves"),
        pytest.param("version: 1\nmoves:", ":2:7", "'moves' is empty; expected a list of entries", id="moves: null"),
        pytest.param("version: 1\nmoves: {a: b}", ":2:8", "'moves' is a mapping", id="moves: mapping"),
        pytest.param("version: 1\nmoves: [a]", ":2:9", "an entry is a text (a)", id="entry: text"),
        pytest.param("version: 1\nmoves: [[a]]", ":2:9", "an entry is a list", id="entry: list"),
        pytest.param("version: 1\nmoves: []\nmove: 1", ":3:1", "did you mean 'moves'?", id="unknown key"),
        pytest.param("a: !!python/object/apply:os.system [x]", ":1:4", "tag '!!python/object/apply:os", id="python"),
        pytest.param("a: !own b", ":1:4", "tag '!own'", id="tag"),
        pytest.param("a: &x b\nc: *x", ":2:4", "alias '*x'; expected the value itself", id="alias"),
        pytest.param("a: &a [*a]", ":1:8", "alias '*a'", id="alias of itself"),
    ],
)
def test_document_problem(text: str, start: str, said: str) -> None:
    assert any(line.startswith(f"{start}: ") and said in line for line in problems(text))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        pytest.param("old: a, ^nwe: b, removed: x", "unknown key 'nwe'; expected one of old, new", id="key"),
        pytest.param("old: a, new: b, ^removedin: 1", "did you mean 'removed_in'?", id="nearest key"),
        pytest.param("old: a, new: b, ^new: c", "'new' is given twice, first at line 3", id="key twice"),
        pytest.param("^<<: {old: x}, old: a, new: b", "unknown key '<<'", id="merge key"),
        pytest.param("new: b", "key 'old' is missing", id="no old"),
        pytest.param("old: a", "an entry has no new name; expected 'new', 'split' or 'removed'", id="no new"),
        pytest.param("old: a, shim_only: x", "an entry has no new name", id="shim_only without new"),
        pytest.param("old: a, new: b, removed: x", "'removed' contradicts 'new'", id="removed and new"),
        pytest.param("old: a, split: {b: [c]}, removed: x", "contradicts 'split'", id="removed and split"),
        pytest.param("old: a, split: {b: [c]}, shim_only: x", "'shim_only' contradicts", id="shim and split"),
        pytest.param("old: a, removed: ^yes", "'removed' is a boolean (yes); expected a text", id="removed: type"),
        pytest.param("old: a, removed: ^' '", "'removed' is empty", id="removed: blank"),
        pytest.param("old: a, new: b, shim_only: ^~", "'shim_only' is nothing (~)", id="shim_only: null"),
        pytest.param("old: a, new: b, since: ^[1]", "'since' is a list", id="since: list"),
        pytest.param("old: a, new: b, note: ^1", "'note' is a number (1)", id="note: number"),
        pytest.param("old: a, new: b, kind: ^modul", "unknown kind 'modul'; expected one of module, symbol", id="kind"),
        pytest.param("old: a, new: b, kind: ^[symbol]", "'kind' is a list; expected module or symbol", id="kind: list"),
        pytest.param("old: ^[], new: b", "'old' is empty; expected a list of names", id="old: no names"),
        pytest.param("old: ^{a: b}, new: b", "old name is a mapping", id="old: mapping"),
        pytest.param("old: [a, ^1], new: b", "old name is a number (1)", id="old: number"),
        pytest.param("old: a, new: ^[b]", "new name is a list", id="new: list"),
        pytest.param("old: ^a..b, new: c", "'a..b' has an empty part; expected a dotted name", id="two dots"),
        pytest.param("old: ^.a, new: c", "did you mean 'a'?", id="relative"),
        pytest.param("old: ^1a, new: c", "'1a' is malformed: '1a' is not an identifier", id="digit"),
        pytest.param("old: ^a.class, new: c", "'class' is a keyword", id="keyword"),
        pytest.param("old: ^'a b', new: c", "'a b' is not an identifier", id="space"),
        pytest.param("old: ^'', new: c", "has an empty part", id="empty"),
        pytest.param("old: a, new: ^'a:b:c'", "more than one colon", id="colons"),
        pytest.param("old: a, new: ^'b:'", "has an empty part", id="nothing after the colon"),
        pytest.param("old: ^src/bem2/x.py, new: c", "did you mean 'src.bem2.x'?", id="path"),
        pytest.param("old: ^my-pkg, new: c", "did you mean 'my_pkg'?", id="hyphen"),
        pytest.param(f"old: ^{'a.' * 300}b, new: c", "is longer than 500 characters", id="long"),
        pytest.param("old: ^a, new: a", "'a' is its own new name", id="same"),
        pytest.param("old: ^a.b, new: 'a:b'", "'a.b' is its own new name", id="same with a colon"),
        pytest.param("old: ^f, new: 'a:f'", "symbol 'f' has no module", id="symbol without a module"),
        pytest.param("old: 'a:f', new: ^b", "'b' can only be a module; expected a name", id="module for a symbol"),
        pytest.param("old: a.f, new: ^b, kind: symbol", "such as 'b:f'", id="module for a kind: symbol"),
        pytest.param("old: a, new: ^'b:c', kind: module", "'b:c' names something inside", id="symbol for a module"),
        pytest.param("old: ^'b:c', removed: x, kind: module", "'b:c' names something", id="removed: colon"),
        pytest.param("old: ^b, removed: x, kind: symbol", "symbol 'b' has no module", id="removed: symbol"),
        pytest.param("old: a, split: ^[b]", "'split' is a list; expected a mapping", id="split: list"),
        pytest.param("old: a, split: ^{}", "'split' is empty", id="split: empty"),
        pytest.param("old: a, split: {b: ^c}", "'b' is a text (c); expected a list of names", id="split: text"),
        pytest.param("old: a, split: {b: ^[]}", "'b' is empty", id="split: no names"),
        pytest.param("old: a, split: {^'b:c': [d]}", "new module 'b:c' has a colon", id="split: colon"),
        pytest.param("old: a, split: {b: [c, ^1]}", "name is a number (1)", id="split: number"),
        pytest.param("old: a, split: {b: [f], c: [^f]}", "'a.f' has two new names: 'b.f'", id="split: name twice"),
        pytest.param("old: a, split: {b: [f, ^f]}", "'a.f' is listed twice", id="split: name again"),
        pytest.param("old: a, split: {b: [f], ^b: [g]}", "'b' is given twice", id="split: module twice"),
        pytest.param("old: a, split: {a: [^f]}", "'a.f' is its own new name", id="split: stays"),
        pytest.param("old: [a, ^b], split: {c: [f]}", "several old names", id="split: merge"),
        pytest.param("old: ^'a:b', split: {c: [f]}", "only a module can be split", id="split: symbol"),
        pytest.param("old: a, split: ^{c: [f]}, kind: symbol", "only a module can be split", id="split: kind"),
        pytest.param("old: a, split: {c: [f]}, new: ^'d:e'", "only a module can be split", id="split: new"),
    ],
)
def test_entry_problem(fields: str, said: str) -> None:
    """``^`` is where the problem is; without one it is the entry."""
    [line] = problems(entry(fields.replace("^", "")))
    assert line.startswith(f":3:{fields.find('^') + 6}: ")
    assert said in line


@pytest.mark.parametrize(
    ("moves", "said"),
    [
        pytest.param(["a: b", "b: a"], [":1:1: cycle: a -> b -> a"], id="cycle of two"),
        pytest.param(["a: b", "b: c", "c: a"], [":1:1: cycle: a -> b -> c -> a"], id="cycle of three"),
        pytest.param(["x: a", "a: b", "b: a"], [":2:1: cycle: a -> b -> a"], id="a way into a cycle"),
        pytest.param(["a: b", "b: a", "c: d", "d: c"], [":1:1: cycle: a", ":3:1: cycle: c"], id="two cycles"),
        pytest.param(["a: b", "b.x: a.x"], [":2:1: cycle: b.x -> a.x -> b.x"], id="cycle for one submodule"),
        pytest.param(["a.f: b:f", "b: a"], [":1:1: cycle: a.f -> b.f -> a.f"], id="cycle of a symbol"),
        pytest.param(["p: p.core"], ["p -> p.core -> p.core.core -> ...; expected a new name outside 'p'"], id="grows"),
        pytest.param(["p.t: p.u", "p: p.core"], [":2:1: ", "p -> p.core -> p.core.core"], id="grows, found from below"),
        pytest.param(["a: b.x", "b: a"], [":1:1: ", "a -> b.x -> a.x -> b.x.x -> ..."], id="grows in turns"),
        pytest.param(["a.f: a.f.g:h"], ["a.f -> a.f.g.h -> "], id="a symbol grows"),
    ],
)
def test_moves_without_an_end(moves: list[str], said: list[str]) -> None:
    found = "\n".join(problems("\n".join(moves)))
    assert all(text in found for text in said)
    assert found.count("\n") + 1 == max(1, sum(text.startswith(":") and "cycle" in text for text in said))


@pytest.mark.parametrize(
    "moves",
    [
        pytest.param(["a: b", "b: c", "c: d"], id="chain"),
        pytest.param(["a.b: a"], id="a package dissolves"),
        pytest.param(["a: b.a"], id="into another package"),
        pytest.param(["a.x: b.x", "b.y: a.y"], id="names that change places"),
        pytest.param(["p.one: p.core.one", "p.two: p.core.two"], id="submodules one by one"),
        pytest.param(["a.C: b:C", "a.C.f: b:g"], id="a class and one of its methods"),
        pytest.param(["a.f: c:f", "b.f: c:f"], id="copies merged"),
        pytest.param([f"a{n}: a{n + 1}" for n in range(99)], id="a long chain"),
    ],
)
def test_lists_that_end(moves: list[str]) -> None:
    assert len(parse("\n".join(moves), "m.yaml").entries) == len(moves)


def test_chain_too_long_is_said_once() -> None:
    [line] = problems("\n".join(f"a{n}: a{n + 1}" for n in range(300)))
    assert line.startswith(":1:1: a chain of more than 100 moves begins with a0 -> a1 -> a2 -> a3")


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        pytest.param("old: a, new: b", "old: a, new: b", ":4:11: 'a' is listed twice, first at line 3", id="same"),
        pytest.param("old: a, new: b", "old: a, removed: x", "'b' at line 3 and none (removed) here", id="removed"),
        pytest.param("old: a, new: b", "old: [c, a], new: d", "'b' at line 3 and 'd' here", id="merge"),
        pytest.param("old: a, split: {b: [f]}", "old: 'a:f', new: 'c:f'", "'b.f' at line 3 and 'c.f' here", id="split"),
        pytest.param(
            "old: 'a:b', new: 'c:b'",
            "old: a.b.d, new: e, kind: module",
            ":4:11: 'a.b.d' cannot be a module: 'a.b' is a symbol at line 3",
            id="module below a symbol",
        ),
        pytest.param(
            "old: a.b, new: e, kind: module",
            "old: 'x:y', new: 'a:b.c'",
            ":3:11: 'a.b' cannot be a module: 'a.b' is a symbol at line 4",
            id="new symbol is an old module",
        ),
        pytest.param(
            "old: 'a:f', new: p.z",
            "old: p.y, new: p.z, kind: module",
            ":3:11: 'a.f' is a symbol, but 'p.z' is a module at line 4; expected a name inside that module",
            id="module for a symbol",
        ),
    ],
)
def test_entries_that_contradict(first: str, second: str, said: str) -> None:
    [line] = problems(f"version: 1\nmoves:\n  - {{{first}}}\n  - {{{second}}}\n")
    assert said in line


def test_every_problem_at_once_in_the_order_of_the_file() -> None:
    text = """\
    version: 3
    moves:
      - {old: a..b, new: c}
      - {old: x, new: y}
      - {old: y, new: x}
      - {old: d, nwe: e}
    mooves: []
    """
    starts = [line.split(": ")[0] for line in problems(textwrap.dedent(text))]
    assert starts == [":1:10", ":3:11", ":4:11", ":6:5", ":6:14", ":7:1"]


@pytest.mark.parametrize(
    ("text", "start"),
    [
        pytest.param('{"a": "b",}', ":1:11: not valid JSON", id="comma"),
        pytest.param('{\n\t"a": b\n}', ":2:7: not valid JSON", id="no quotes"),
        pytest.param("a: b", ":1:1: not valid JSON", id="YAML"),
        pytest.param("", ":1:1: the file is empty", id="empty"),
        pytest.param('{"a": "b",\n\t"a": "c"}', ":2:2: 'a' is given twice, first at line 1", id="key twice"),
    ],
)
def test_json_problem(text: str, start: str) -> None:
    [line] = problems(text, "m.json")
    assert line.startswith(start)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("[" * 2_000_000, "nested too deeply", id="lists"),
        pytest.param("{" * 2_000_000, "nested too deeply", id="mappings"),
        pytest.param("- " * 2_000_000, "nested too deeply", id="blocks"),
        pytest.param("\n".join(" " * n + "a:" for n in range(2000)), "nested too deeply", id="indentation"),
        pytest.param(" " * 5_000_000, "too large; expected at most 4 MiB", id="size"),
        pytest.param(
            "a0: &a0 [x]\n" + "\n".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60)),
            "alias '*a0'",
            id="aliases",
        ),
        pytest.param(
            "{" + ",".join(f"a{n}: [1]" for n in range(20_000)) + "}", "stopped after 1000 problems", id="problems"
        ),
        pytest.param("a: " + "b." * 2_000_000, "longer than 500 characters", id="name"),
        pytest.param("a: " + "*" * 100_000, "not valid YAML", id="name of an alias"),
    ],
)
def test_hostile(text: str, said: str) -> None:
    found = problems(text)
    assert any(said in line for line in found)
    assert sum(map(len, found)) < 1_000_000


def test_nested_json() -> None:
    assert "not valid" in problems("[" * 200_000, "m.json")[0]


@given(st.text(st.sampled_from("ab.:{}[],-\n \t'\"!&*#|>?%@1:"), max_size=40), st.sampled_from(["m.yaml", "m.json"]))
@example("? {a: b}\n: c", "m.yaml")
@example("%YAML 3.0\n---\na: b", "m.yaml")
@example("!a!b c", "m.yaml")
@example("{&a a: b}", "m.yaml")
@example("? *a\n: b", "m.yaml")
def test_any_text_is_read_or_refused(text: str, source: str) -> None:
    outcome = attempt(text, source)
    assert isinstance(outcome, Moves) or all(line.startswith(source) for line in outcome)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
fields = st.fixed_dictionaries(
    {},
    optional={
        "old": st.sampled_from(["a", "a.b", "a:b", "c", "c.d", ["a", "c.d"]]) | json_values,
        "new": st.sampled_from(["a", "a.b", "a:b", "c", "c.d", "c:d"]) | json_values,
        "kind": st.sampled_from(["module", "symbol"]) | json_values,
        "split": st.dictionaries(st.sampled_from(["a.b", "c", "d"]), st.lists(st.sampled_from("fg")), max_size=2)
        | json_values,
        "removed": st.just("gone") | json_values,
        "shim_only": st.just("adapter") | json_values,
        "since": json_values,
        "note": json_values,
    },
)


@given(st.lists(fields | json_values, max_size=4))
def test_any_entries_are_read_or_refused(entries: list[object]) -> None:
    outcome = attempt(json.dumps({"version": 1, "moves": entries}), "m.json")
    if isinstance(outcome, Moves):
        assert all(move.removed or move.module for move in outcome.entries.values())
    else:
        assert all(line.startswith("m.json") for line in outcome)


def test_load(tmp_path: Path) -> None:
    path = tmp_path / "moves.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: b\r\n")
    moves = load(path)
    assert (list(moves.entries), moves.source) == (["a"], str(path))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        pytest.param(None, ": cannot be read: No such file", id="no file"),
        pytest.param(b"a: b\nc: \xff\n", ":2: not text in UTF-8", id="encoding"),
        pytest.param(b" " * 5_000_000, ": the file is too large", id="size"),
        pytest.param(b"a: a", ":1:1: 'a' is its own new name", id="content"),
    ],
)
def test_load_problem(tmp_path: Path, data: bytes | None, said: str) -> None:
    path = tmp_path / "moves.yaml"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(MovesError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}{said}")


def test_load_a_folder(tmp_path: Path) -> None:
    with pytest.raises(MovesError, match="cannot be read: Is a directory"):
        load(tmp_path)


def test_error_is_a_config_error_and_travels_between_processes() -> None:
    error = MovesError("m.yaml:1: x")
    assert isinstance(error, ConfigError)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_shipped_list() -> None:
    moves = shipped()
    assert moves.entries
    assert shipped() is moves


def blocks(language: str) -> list[str]:
    text = (Path(__file__).parents[1] / "docs" / "moves.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def test_documented_lists() -> None:
    short, long, _ = blocks("yaml")
    assert len(parse(short, "moves.yaml").entries) == 3
    assert len(parse(long, "moves.yaml").entries) == 12


def test_documented_message() -> None:
    with pytest.raises(MovesError) as caught:
        parse(blocks("yaml")[2], "broken.yaml")
    assert [f"{caught.value}\n"] == blocks("text")
