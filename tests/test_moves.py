"""Lookups in a list of moves: longest match, chains, spellings in text, kinds found out later."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from migrate.moves import Moves
from migrate.moves_file import MovesError, parse

LIST = """
version: 1
moves:
  - {old: src.bem2, new: bem2, kind: module}
  - {old: bem2.router.training, new: bem_core.training}
  - {old: bem2.router.training.TrainingConfig, new: "bem_core.config:TrainingConfig"}
  - {old: bem, new: bem_legacy}
  - {old: pkg.mod.f, new: "pkg.other:C.g"}
  - {old: pkg.other.C, new: "final.place:D"}
  - {old: pkg.mod.Trainer, new: "pkg.new:Trainer", shim_only: "takes a config object now"}
  - {old: pkg.mod.gone, removed: "use torch.compile instead"}
  - {old: older.gone, new: pkg.mod.gone}
  - {old: bem2.Größe, new: bem2.Maß}
"""


@pytest.fixture(scope="module")
def moves() -> Moves:
    return parse(LIST, "moves.yaml")


@pytest.mark.parametrize(
    ("name", "module", "attr"),
    [
        pytest.param("src.bem2", "bem2", "", id="exact"),
        pytest.param("src.bem2.x.y", "bem2.x.y", "", id="below"),
        pytest.param("src.bem2.router.training", "bem_core.training", "", id="chain"),
        pytest.param("bem2.router.training.loop", "bem_core.training.loop", "", id="below a chain"),
        pytest.param("bem2.router.training.TrainingConfig", "bem_core.config", "TrainingConfig", id="longest wins"),
        pytest.param("src.bem2.router.training.TrainingConfig", "bem_core.config", "TrainingConfig", id="chain to it"),
        pytest.param("bem2.router.training.TrainingConfig.x", "bem_core.config", "TrainingConfig.x", id="attribute"),
        pytest.param("bem2.router.training.TrainingConfigs", "bem_core.training.TrainingConfigs", "", id="whole parts"),
        pytest.param("pkg.mod.f", "final.place", "D.g", id="symbol, then its class"),
        pytest.param("bem2.Größe.x", "bem2.Maß.x", "", id="not ASCII"),
    ],
)
def test_resolve(moves: Moves, name: str, module: str, attr: str) -> None:
    target = moves.resolve(name)
    assert target is not None
    assert (target.module, target.attr, target.blocked) == (module, attr, "")
    assert target.dotted == f"{module}.{attr}".rstrip(".")


@pytest.mark.parametrize("name", ["", "bem2", "bem2.router", "bem3", "src", "src.bem22", "pkg", "pkg.mod", "x.bem"])
def test_not_old(moves: Moves, name: str) -> None:
    assert moves.resolve(name) is None
    assert moves.rename(name) is None


@pytest.mark.parametrize(
    ("name", "dotted", "blocked"),
    [
        pytest.param("pkg.mod.Trainer", "pkg.mod.Trainer", "shim_only", id="shim_only"),
        pytest.param("pkg.mod.Trainer.fit", "pkg.mod.Trainer.fit", "shim_only", id="below"),
        pytest.param("pkg.mod.gone", "pkg.mod.gone", "removed", id="removed"),
        pytest.param("older.gone.x", "pkg.mod.gone.x", "removed", id="moved, then removed"),
    ],
)
def test_blocked(moves: Moves, name: str, dotted: str, blocked: str) -> None:
    target = moves.resolve(name)
    assert target is not None
    assert (target.dotted, target.blocked) == (dotted, blocked)


def test_blocked_target_has_the_advice(moves: Moves) -> None:
    target = moves.resolve("older.gone")
    assert target is not None
    assert target.move.removed == "use torch.compile instead"


@pytest.mark.parametrize(
    ("spelled", "new"),
    [
        ("bem2.router.training.TrainingConfig", "bem_core.config.TrainingConfig"),
        ("bem2.router.training:TrainingConfig", "bem_core.config:TrainingConfig"),
        ("src.bem2.cli:main", "bem2.cli:main"),
        ("src.bem2.cli:App.run", "bem2.cli:App.run"),
        ("pkg.mod:f", "final.place:D.g"),
    ],
)
def test_rename_keeps_the_style(moves: Moves, spelled: str, new: str) -> None:
    renamed = moves.rename(spelled)
    assert renamed is not None
    assert renamed[0] == new


@pytest.mark.parametrize(
    ("name", "leads"),
    [
        pytest.param("pkg", True, id="ancestor"),
        pytest.param("src", True, id="ancestor of a prefix"),
        pytest.param("src.bem2.router", True, id="ancestor after a move"),
        pytest.param("bem2.router.training", True, id="entry with entries below"),
        pytest.param("bem", False, id="everything moves along"),
        pytest.param("numpy", False, id="unrelated"),
        pytest.param("pkg.mod.f.x", False, id="below a symbol"),
    ],
)
def test_leads_to(moves: Moves, name: str, leads: bool) -> None:
    assert moves.leads_to(name) is leads


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param("see bem.models.gpt.", ["bem.models.gpt"], id="end of a sentence"),
        pytest.param("bem", ["bem"], id="one part"),
        pytest.param("`bem.a`, (bem.b) \"bem.c\" 'bem.d'", ["bem.a", "bem.b", "bem.c", "bem.d"], id="quotes"),
        pytest.param("src.bem2.cli:main", ["src.bem2.cli:main"], id="colon"),
        pytest.param("src.bem2.cli:App.run", ["src.bem2.cli:App.run"], id="colon and attribute"),
        pytest.param("src.bem2.cli: main", ["src.bem2.cli"], id="colon of a key"),
        pytest.param("src.bem2.cli:80", ["src.bem2.cli"], id="colon and number"),
        pytest.param("bem.a\nbem.b", ["bem.a", "bem.b"], id="lines"),
        pytest.param("bem.a.1", ["bem.a"], id="a number isn't part of it"),
        pytest.param("bem2-multimodal bem-x", [], id="hyphen"),
        pytest.param("bem:latest", [], id="tag of an image"),
        pytest.param("bem/x ./bem x/bem", [], id="path"),
        pytest.param("bem.py bem.yaml", [], id="file"),
        pytest.param("app@bem bem@app", [], id="at"),
        pytest.param("x.bem.y -bem.x $bem.x", [], id="in front"),
        pytest.param("bem2 bem_x xbem bemx", [], id="part of a word"),
        pytest.param("bem2.router.trainings", [], id="part of the last word"),
        pytest.param("", [], id="empty"),
    ],
)
def test_find(moves: Moves, text: str, found: list[str]) -> None:
    spans = list(moves.find(text))
    assert [name for _, _, name in spans] == found
    assert [text[start:end] for start, end, _ in spans] == found


def test_find_in_a_part_of_the_text(moves: Moves) -> None:
    assert [name for _, _, name in moves.find("bem.a bem.b bem.c", 1, 11)] == ["bem.b"]


def test_find_with_an_empty_list() -> None:
    assert list(parse("{}", "moves.yaml").find("a.b c")) == []


MODULES = {"old", "old.mod", "new", "new.mod", "new.mod.sub"}


@pytest.mark.parametrize(
    ("old", "new", "module", "attr"),
    [
        pytest.param("old.mod", "new.mod", "new.mod", "", id="old module in the tree"),
        pytest.param("old.mod.f", "new.mod.g", "new.mod", "g", id="old symbol in the tree"),
        pytest.param("old.mod.C", "new.mod.D.E", "new.mod", "D.E", id="longest module of the new name"),
        pytest.param("gone.mod", "new.mod.sub", "new.mod.sub", "", id="new module in the tree"),
        pytest.param("gone.mod.f", "new.mod.f", "new.mod", "f", id="new symbol in the tree"),
        pytest.param("gone.Class", "far.away.Class", "far.away", "Class", id="capital"),
        pytest.param("gone.mod", "far.mod", "far.mod", "", id="unknown: a module"),
        pytest.param("gone", "far", "far", "", id="one part: a module"),
    ],
)
def test_kind_found_out(old: str, new: str, module: str, attr: str) -> None:
    def is_module(name: str) -> bool | None:
        if name.split(".")[0] not in MODULES:
            return None
        return name in MODULES

    settled = parse(json.dumps({old: new}), "moves.json").with_kinds(is_module)
    move = settled.entries[old]
    assert (move.module, move.attr, move.kind) == (module, attr, "symbol" if attr else "module")


def test_kind_given_stays() -> None:
    moves = parse("version: 1\nmoves: [{old: a.B, new: c.D, kind: module}]", "moves.yaml")
    assert moves.with_kinds(lambda name: False).entries == moves.entries


dotted = st.lists(st.sampled_from("abcd"), min_size=1, max_size=4).map(".".join)
coloned = st.tuples(dotted, dotted).map(":".join)
lists = st.dictionaries(dotted, st.one_of(dotted, coloned), max_size=5)


@given(lists, st.lists(dotted, min_size=1, max_size=5))
@example({"a": "b", "b.x": "a.x"}, ["a.x"])
@example({"a": "b.b", "b.b.b": "a"}, ["a.b.b.b"])
@example({"a.b": "a"}, ["a.b.b.b"])
def test_every_accepted_list_comes_to_rest(mapping: dict[str, str], names: list[str]) -> None:
    try:
        moves = parse(json.dumps(mapping), "moves.json")
    except MovesError:
        return
    for name in [*names, *(f"{old}.{name}" for old in mapping for name in names), *mapping]:
        target = moves.resolve(name)
        assert target is None or moves.resolve(target.dotted) is None


@given(lists, st.sets(dotted, max_size=2), st.lists(dotted, min_size=1, max_size=5))
def test_every_accepted_list_with_removed_names_comes_to_rest(
    mapping: dict[str, str], removed: set[str], names: list[str]
) -> None:
    entries = [{"old": old, "new": new} for old, new in mapping.items() if old not in removed]
    entries += [{"old": old, "removed": "gone"} for old in removed]
    try:
        moves = parse(json.dumps({"version": 1, "moves": entries}), "moves.json")
    except MovesError:
        return
    for name in names:
        target = moves.resolve(name)
        again = target and moves.resolve(target.dotted)
        assert again is None or (again.blocked == "removed" and target is not None and again.dotted == target.dotted)


@given(lists, st.lists(dotted, min_size=1, max_size=5))
def test_settling_kinds_changes_no_name(mapping: dict[str, str], names: list[str]) -> None:
    try:
        moves = parse(json.dumps(mapping), "moves.json")
    except MovesError:
        return
    settled = moves.with_kinds(lambda name: name.count(".") < 2)
    for name in names:
        before, after = moves.resolve(name), settled.resolve(name)
        assert (before and before.dotted) == (after and after.dotted)


@given(lists, st.lists(dotted, max_size=5), st.sampled_from([" ", "\n", ", ", "', '"]))
def test_found_names_are_old(mapping: dict[str, str], names: list[str], separator: str) -> None:
    try:
        moves = parse(json.dumps(mapping), "moves.json")
    except MovesError:
        return
    text = separator.join(names)
    assert [name for _, _, name in moves.find(text)] == [name for name in names if moves.resolve(name)]
