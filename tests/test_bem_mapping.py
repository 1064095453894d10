"""The shipped list of moves is valid, true of the legacy repository, and described by the schema that editors read."""

from __future__ import annotations

import ast
import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from migrate import moves_file
from migrate.moves import Move

MAPPINGS = Path(moves_file.__file__).parent / "mappings"
SOURCES = Path(__file__).parent / "legacy_repo" / "src"
SCHEMA = json.loads((MAPPINGS / "moves.schema.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
MOVES = moves_file.load(MAPPINGS / "bem.yaml").entries


def entry(**keys: Any) -> dict[str, Any]:
    return {"version": 1, "moves": [keys]}


def without(key: str) -> dict[str, Any]:
    document = entry(old="a.b", new="c.d")
    del document[key]
    return document


VALID = {
    "empty": {},
    "short-modules": {"a.b": "c.d"},
    "short-symbol": {"a.b:C.f": "c:d"},
    "short-schema": {"$schema": "moves.schema.json", "a": "b"},
    "short-module-called-moves": {"moves": "shifts", "version": "release"},
    "long-empty": {"version": 1, "moves": []},
    "long-schema": {"$schema": "moves.schema.json", "version": 1, "moves": []},
    "module": entry(old="src.pkg", new="pkg", kind="module", since="0.1", removed_in="1.0", note="why"),
    "version-number": entry(old="a.b", new="c.d", since=0.1, removed_in=2),
    "symbol": entry(old="a.b.f", new="c:D.g", kind="symbol"),
    "symbol-both-colons": entry(old="a.b:f", new="c:g"),
    "unicode": entry(old="pkg.größe", new="pkg.size"),
    "dunder": entry(old="pkg._a.__b__", new="pkg.c"),
    "keyword-inside-word": entry(old="pkg.imports.is_in", new="pkg.classes"),
    "split": entry(old="pkg.mod", split={"pkg.a": ["f", "C.g"], "pkg.b": ["h"]}),
    "split-rest": entry(old="pkg.mod", split={"pkg.a": ["f"]}, new="pkg.rest", kind="module"),
    "merge": entry(old=["a.x", "a.y"], new="a.z"),
    "shim-only": entry(old="a.b.T", new="c:T", shim_only="takes a configuration"),
    "removed": entry(old="a.b.f", removed="use torch.compile"),
    "removed-several": entry(old=["a.b.f", "a.b.g"], removed="gone", since="0.2", note="why"),
}
INVALID = {
    "list": [],
    "text": "a: b",
    "short-number": {"a.b": 1},
    "short-list": {"a.b": ["c"]},
    "short-malformed-old": {"a/b": "c"},
    "short-malformed-new": {"a.b": "c-d"},
    "version-missing": without("version"),
    "version-2": {"version": 2, "moves": []},
    "moves-missing": without("moves"),
    "moves-mapping": {"version": 1, "moves": {"a.b": "c.d"}},
    "unknown-top-key": {"version": 1, "moves": [], "rules": []},
    "entry-text": {"version": 1, "moves": ["a.b"]},
    "unknown-key": entry(old="a.b", new="c.d", notes="typing error"),
    "old-missing": entry(new="c.d"),
    "old-empty-list": entry(old=[], new="c.d"),
    "old-number": entry(old=3, new="c.d"),
    "new-missing": entry(old="a.b"),
    "new-list": entry(old="a.b", new=["c.d"]),
    "name-empty": entry(old="", new="c.d"),
    "name-two-dots": entry(old="a..b", new="c.d"),
    "name-relative": entry(old=".a", new="c.d"),
    "name-path": entry(old="a/b.py", new="c.d"),
    "name-digit": entry(old="a.1b", new="c.d"),
    "name-keyword": entry(old="a.import", new="c.d"),
    "name-two-colons": entry(old="a:b:c", new="c.d"),
    "name-ends-in-colon": entry(old="a.b:", new="c.d"),
    "name-too-long": entry(old="a" * 501, new="c.d"),
    "kind-unknown": entry(old="a.b", new="c.d", kind="class"),
    "kind-contradicts-old": entry(old="a:b", new="c.d", kind="module"),
    "kind-contradicts-new": entry(old="a.b", new="c:d", kind="module"),
    "since-empty": entry(old="a.b", new="c.d", since=""),
    "note-list": entry(old="a.b", new="c.d", note=["x"]),
    "removed-empty": entry(old="a.b", removed=" "),
    "removed-and-new": entry(old="a.b", new="c.d", removed="gone"),
    "removed-and-split": entry(old="a.b", split={"c": ["f"]}, removed="gone"),
    "removed-and-shim": entry(old="a.b", shim_only="changed", removed="gone"),
    "shim-without-new": entry(old="a.b", shim_only="changed"),
    "split-and-shim": entry(old="a.b", split={"c": ["f"]}, shim_only="changed"),
    "split-empty": entry(old="a.b", split={}),
    "split-text": entry(old="a.b", split={"c": "f"}),
    "split-no-names": entry(old="a.b", split={"c": []}),
    "split-module-with-colon": entry(old="a.b", split={"c:d": ["f"]}),
    "split-of-several": entry(old=["a.b", "a.c"], split={"c": ["f"]}),
    "split-of-symbol": entry(old="a:b", split={"c": ["f"]}),
    "split-kind-symbol": entry(old="a.b", split={"c": ["f"]}, kind="symbol"),
    "split-rest-symbol": entry(old="a.b", split={"c": ["f"]}, new="d:e"),
}


def test_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_every_key_of_an_entry_has_help() -> None:
    properties = SCHEMA["$defs"]["entry"]["properties"]
    assert all(len(value["description"]) > 20 for value in properties.values())


def test_shipped_list_fits_the_schema() -> None:
    document = yaml.safe_load((MAPPINGS / "bem.yaml").read_text(encoding="utf-8"))
    assert [error.message for error in VALIDATOR.iter_errors(document)] == []


@pytest.mark.parametrize("document", VALID.values(), ids=VALID)
def test_schema_and_loader_accept(document: object) -> None:
    VALIDATOR.validate(document)
    moves_file.parse(json.dumps(document), "moves.json")


@pytest.mark.parametrize("document", INVALID.values(), ids=INVALID)
def test_schema_and_loader_reject(document: object) -> None:
    assert not VALIDATOR.is_valid(document)
    with pytest.raises(moves_file.MovesError):
        moves_file.parse(json.dumps(document), "moves.json")


@cache
def module_file(module: str) -> Path | None:
    base = SOURCES.joinpath(*module.split("."))
    return next((path for path in (base / "__init__.py", base.with_suffix(".py")) if path.is_file()), None)


@cache
def bound_names(module: str) -> frozenset[str]:
    """Return the names that a module of the legacy repository binds at its top level, also inside ``try``."""
    path = module_file(module)
    if path is None:
        return frozenset()
    names = set()
    for node in _statements(ast.parse(path.read_bytes()).body):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names.update(alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Assign):
            names.update(target.id for target in node.targets if isinstance(target, ast.Name))
    return frozenset(names)


def _statements(body: list[ast.stmt]) -> list[ast.stmt]:
    inner = [_statements(node.body) for node in body if isinstance(node, ast.Try)]
    return [*body, *(statement for statements in inner for statement in statements)]


def exists(dotted: str) -> bool:
    module, _, name = dotted.rpartition(".")
    return module_file(dotted) is not None or name in bound_names(module)


def by_id(moves: list[Move]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("move", moves, ids=[move.old for move in moves])


@by_id([move for move in MOVES.values() if not move.blocked])
def test_new_name_exists_and_old_one_does_not(move: Move) -> None:
    assert exists(move.new)
    # The router had a configuration of its own; its callers get the shared one.
    assert not exists(move.old) or move.old == "bem2.router.training.TrainingConfig"


@by_id([move for move in MOVES.values() if move.shim_only])
def test_adapted_name_exists(move: Move) -> None:
    assert exists(move.old)


@by_id([move for move in MOVES.values() if move.removed])
def test_removed_name_was_never_there(move: Move) -> None:
    assert module_file(move.old.rpartition(".")[0])
    assert not exists(move.old)


@by_id(list(MOVES.values()))
def test_move_says_since_when(move: Move) -> None:
    assert move.since == "0.1"
    assert move.removed_in == ("" if move.removed else "1.0")


def test_one_entry_serves_every_import_root() -> None:
    for root in ("bem2", "src.bem2"):
        target = moves_file.shipped().resolve(f"{root}.perftrack.pt1_head_gating.HeadGatingModule")
        assert target is not None
        assert (target.module, target.attr) == ("bem2.perftrack.pt1_head_gating", "HeadGroupGatingModule")
    for root in ("bem", "src.bem", "src.bem_legacy"):
        target = moves_file.shipped().resolve(f"{root}.controller.RoutingLevel")
        assert target is not None
        assert target.dotted == "bem_legacy.controller.RoutingLevel"
