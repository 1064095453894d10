"""Bases: where they are looked up, how several are combined, and the errors of those that cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bem_core.config import explain, resolve
from bem_core.config.lookup import shipped_templates
from bem_core.config.merge import Directives
from bem_core.config.resolver import Resolver
from bem_core.errors import ConfigError
from tests.config.trees import write

FOUND = [
    pytest.param({"a/x.yaml": "base_config: b.yaml", "a/b.yaml": "k: 1"}, id="beside the file"),
    pytest.param({"a/x.yaml": "base_config: b.yaml", "b.yaml": "k: 1"}, id="in a parent"),
    pytest.param({"a/x.yaml": "base_config: b.yaml", "a/b.yaml": "k: 1", "b.yaml": "k: 2"}, id="beside comes first"),
    pytest.param({"a/x.yaml": "base_config: ../c/b.yaml", "c/b.yaml": "k: 1"}, id="up and down inside"),
    pytest.param({"a/x.yaml": "base_config: [b.yaml]", "a/b.yaml": "k: 1"}, id="list of one"),
    pytest.param(
        {
            "a/x.yaml": "base_config: t/b.yaml",
            "a/t/b.yaml": "base_config: c.yaml",
            "a/t/c.yaml": "k: 1",
            "a/c.yaml": "k: 2",
        },
        id="a base is beside the file that names it",
    ),
    pytest.param({"a/x.yaml": "base_config: [b.yaml, c.yaml]", "b.yaml": "k: 1", "c.yaml": "l: 2"}, id="two bases"),
    pytest.param({"a/x.yaml": "base_config:\nk: 1"}, id="null is no base"),
    pytest.param({"a/x.yaml": "base_config: []\nk: 1"}, id="empty list is no base"),
    pytest.param({"a/x.yaml": "base_config: b.yaml", "a/b.yaml/x": "", "b.yaml": "k: 1"}, id="a folder is no base"),
]


@pytest.mark.parametrize("files", FOUND)
def test_where_a_base_is_found(tmp_path: Path, files: dict[str, str]) -> None:
    assert resolve(write(tmp_path, files) / "a" / "x.yaml").data["k"] == 1


def test_the_working_directory_is_never_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write(tmp_path / "repo", {"a/x.yaml": "base_config: b.yaml"})
    write(tmp_path / "here", {"b.yaml": "k: 1"})
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(ConfigError, match=r"x\.yaml:1:14: base_config: there is no file 'b\.yaml'"):
        resolve(root / "a" / "x.yaml")


def test_the_search_ends_at_the_root_of_the_repository(tmp_path: Path) -> None:
    write(tmp_path, {"b.yaml": "k: 1"})
    root = write(tmp_path / "repo", {"a/x.yaml": "base_config: b.yaml"})
    with pytest.raises(ConfigError, match="there is no file"):
        resolve(root / "a" / "x.yaml")
    assert resolve(root / "a" / "x.yaml", root=tmp_path).data == {"k": 1}


def test_without_a_repository_only_the_folder_of_the_file_counts(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b.yaml").write_text("k: 1")
    (tmp_path / "a" / "x.yaml").write_text("base_config: ../b.yaml")
    with pytest.raises(ConfigError, match="outside the repository"):
        resolve(tmp_path / "a" / "x.yaml")


def test_templates_are_looked_up_last_and_only_under_their_folder(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {"x.yaml": "base_config: templates/base_experiment.yaml", "y.yaml": "base_config: base_experiment.yaml"},
    )
    (shipped,) = shipped_templates()
    assert resolve(root / "x.yaml").layers[0].path == shipped / "base_experiment.yaml"
    with pytest.raises(ConfigError, match=r"there is no file 'base_experiment\.yaml'"):
        resolve(root / "y.yaml")
    with pytest.raises(ConfigError, match="there is no file"):
        resolve(root / "x.yaml", template_dirs=())
    write(root, {"templates/base_experiment.yaml": "k: own"})
    assert resolve(root / "x.yaml").data == {"k": "own"}


ERRORS = [
    pytest.param({"x.yaml": "base_config: b.yaml"}, ["x.yaml:1:14", "'b.yaml'", "looked beside it"], id="missing"),
    pytest.param(
        {"x.yaml": "base_config: [b.yaml, c.yaml]", "b.yaml": "k: 1"},
        ["x.yaml:1:23", "'c.yaml'"],
        id="second is missing",
    ),
    pytest.param(
        {"x.yaml": "base_config: b.yaml", "b.yaml": "a: 1\nbase_config: c.yaml"}, ["b.yaml:2:14"], id="base of a base"
    ),
    pytest.param({"x.yaml": "base_config: x.yaml"}, ["x.yaml -> ", "in a circle"], id="its own base"),
    pytest.param(
        {"x.yaml": "base_config: b.yaml", "b.yaml": "base_config: c.yaml", "c.yaml": "base_config: b.yaml"},
        ["b.yaml -> ", "c.yaml -> "],
        id="circle below",
    ),
    pytest.param({"x.yaml": "base_config: ../b.yaml"}, ["x.yaml:1:14", "outside the repository"], id="above the root"),
    pytest.param(
        {"x.yaml": "base_config: a/../../b.yaml"}, ["outside the repository"], id="above the root in a detour"
    ),
    pytest.param({"x.yaml": "base_config: templates/../../b.yaml"}, ["outside the repository"], id="out of templates"),
    pytest.param({"x.yaml": "base_config: /etc/passwd"}, ["not a relative path"], id="absolute"),
    pytest.param({"x.yaml": "base_config: ''"}, ["not a relative path"], id="empty name"),
    pytest.param({"x.yaml": 'base_config: "a\\0b"'}, ["not a relative path"], id="null character"),
    pytest.param({"x.yaml": "base_config: {a: 1}"}, ["x.yaml:1:14", "'base_config_'"], id="mapping"),
    pytest.param({"x.yaml": "base_config: 3"}, ["expected the path of a base"], id="number"),
    pytest.param({"x.yaml": "base_config: [b.yaml, 3]"}, ["expected the path of a base"], id="number in the list"),
    pytest.param(
        {"x.yaml": "base_config: b.yaml\na:\n  _delete_: [z]", "b.yaml": "a: {k: 1}"},
        ["x.yaml:3:13", "a: '_delete_' names 'z'"],
        id="deletes what is not there",
    ),
    pytest.param({"x.yaml": "base_config: b.yaml", "b.yaml": "a: 1\na: 2"}, ["b.yaml:2:1", "in line 1"], id="bad base"),
    pytest.param(
        {"x.yaml": "base_config: [b.yaml, c.yaml]", "b.yaml": "t: {lr: 1}", "c.yaml": "t:\n  lr: 1.0"},
        ["x.yaml:1:14", "t.lr", "1 (", "b.yaml:1:9", "1.0 (", "c.yaml:2:7", "set it in"],
        id="bases disagree",
    ),
    pytest.param(
        {"x.yaml": "base_config: [b.yaml, c.yaml]", "b.yaml": "t: {lr: 1}", "c.yaml": "t: 3"},
        ["x.yaml:1:14: t: the bases disagree"],
        id="mapping against scalar",
    ),
    pytest.param(
        {"x.yaml": "base_config: [b.yaml, c.yaml, d.yaml]", "b.yaml": "k: 1", "c.yaml": "k: 2", "d.yaml": "k: 2"},
        ["b.yaml:1:4", "c.yaml:1:4"],
        id="three bases, two agree",
    ),
]


@pytest.mark.parametrize(("files", "words"), ERRORS)
def test_errors(tmp_path: Path, files: dict[str, str], words: list[str]) -> None:
    (tmp_path / "b.yaml").write_text("k: outside")
    root = write(tmp_path / "repo", files)
    with pytest.raises(ConfigError) as error:
        resolve(root / "x.yaml")
    assert all(word in str(error.value) for word in words), str(error.value)


def test_all_disagreements_are_told_at_once(tmp_path: Path) -> None:
    files = {"x.yaml": "base_config: [b.yaml, c.yaml]", "b.yaml": "k: 1\nl: 1\nm: 1", "c.yaml": "k: 2\nl: 2\nm: 1"}
    with pytest.raises(ConfigError) as error:
        resolve(write(tmp_path, files) / "x.yaml")
    assert [line.split(": ")[1] for line in str(error.value).splitlines()] == ["k", "l"]


SETTLED = [
    pytest.param("k: 3", {"k": 3, "t": {"lr": 1}}, id="sets it"),
    pytest.param("_delete_: [k]", {"t": {"lr": 1}}, id="deletes it"),
    pytest.param("k: {a: 1}", {"k": {"a": 1}, "t": {"lr": 1}}, id="puts a mapping there"),
    pytest.param("_delete_: true\nz: 1", {"z": 1}, id="deletes everything"),
]


@pytest.mark.parametrize(("own", "expected"), SETTLED)
def test_a_file_settles_what_its_bases_disagree_on(tmp_path: Path, own: str, expected: dict[str, Any]) -> None:
    files = {"x.yaml": f"base_config: [b.yaml, c.yaml]\n{own}", "b.yaml": "k: 1\nt: {lr: 1}", "c.yaml": "k: 2"}
    assert resolve(write(tmp_path, files) / "x.yaml").data == expected


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_links_out_of_the_repository_are_refused(tmp_path: Path, kind: str) -> None:
    outside = write(tmp_path / "outside", {"b.yaml": "k: 1"})
    root = write(tmp_path / "repo", {"x.yaml": "base_config: t/b.yaml", "t2/b.yaml": "k: 2"})
    if kind == "file":
        (root / "t").mkdir()
        (root / "t" / "b.yaml").symlink_to(outside / "b.yaml")
    else:
        (root / "t").symlink_to(outside)
    with pytest.raises(ConfigError, match=r"link to .* outside the repository"):
        resolve(root / "x.yaml")


def test_links_inside_the_repository_are_followed(tmp_path: Path) -> None:
    root = write(tmp_path, {"a/x.yaml": "base_config: t/b.yaml", "t/b.yaml": "base_config: c.yaml", "t/c.yaml": "k: 1"})
    (root / "a" / "t").symlink_to(root / "t")
    assert resolve(root / "a" / "x.yaml").data == {"k": 1}


def test_a_chain_has_an_end(tmp_path: Path) -> None:
    files = {f"b{n}.yaml": f"base_config: b{n + 1}.yaml" for n in range(200)}
    with pytest.raises(ConfigError, match="more than 50 bases"):
        resolve(write(tmp_path, files) / "b0.yaml")


def test_many_bases_that_share_bases_take_no_longer_than_their_number(tmp_path: Path) -> None:
    files = {f"b{n}.yaml": f"base_config: [b{n + 1}.yaml, c{n + 1}.yaml]\nk{n}: 1" for n in range(40)}
    files |= {f"c{n}.yaml": f"base_config: [b{n + 1}.yaml, c{n + 1}.yaml]\nl{n}: 1" for n in range(40)}
    files |= {"b40.yaml": "k40: 1", "c40.yaml": "l40: 1"}
    found = resolve(write(tmp_path, files) / "b0.yaml")
    assert len(found.data) == 81
    assert len(found.layers) == 81


def test_layers_come_base_first_and_once(tmp_path: Path) -> None:
    files = {"x.yaml": "base_config: [b.yaml, c.yaml]", "d.yaml": "k: 1"}
    files |= dict.fromkeys(("b.yaml", "c.yaml"), "base_config: d.yaml")
    found = resolve(write(tmp_path, files) / "x.yaml")
    assert [layer.path.name for layer in found.layers] == ["d.yaml", "b.yaml", "c.yaml", "x.yaml"]


def test_a_missing_base_is_dropped_only_when_asked_for(tmp_path: Path) -> None:
    root = write(tmp_path, {"x.yaml": "k: 1\nbase_config: [gone.yaml, b.yaml]", "b.yaml": "l: 2"})
    found = resolve(root / "x.yaml", on_dangling="drop")
    assert found.data == {"l": 2, "k": 1}
    (finding,) = found.findings
    assert (finding.code, finding.location.line, finding.location.column) == ("dangling-base", 2, 15)
    assert "'gone.yaml'" in str(finding)


def test_names_of_directives_can_be_others(tmp_path: Path) -> None:
    root = write(tmp_path, {"x.yaml": "extends: b.yaml\nbase_config: data\n'-': [k]", "b.yaml": "k: 1\nl: 2"})
    found = resolve(root / "x.yaml", directives=Directives("extends", "-"))
    assert found.data == {"l": 2, "base_config": "data"}


def test_files_may_be_named_relative_to_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write(tmp_path, {"a/x.yaml": "base_config: t/b.yaml", "t/b.yaml": "k: [", "a/y.yaml": "k: 1"})
    monkeypatch.chdir(root / "a")
    assert resolve("y.yaml").data == {"k": 1}
    with pytest.raises(ConfigError) as error:
        resolve("x.yaml")
    assert str(error.value).startswith("../t/b.yaml:2:1: ")


def test_texts_stand_for_files(tmp_path: Path) -> None:
    root = write(tmp_path, {"x.yaml": "k: 1", "b.yaml": "l: 1"})
    resolver = Resolver()
    resolver.put(root / "x.yaml", "base_config: [b.yaml, new/c.yaml]\nk: 2")
    resolver.put(root / "new" / "c.yaml", "m: 1")
    assert resolver.resolve(root / "x.yaml").data == {"l": 1, "m": 1, "k": 2}
    assert resolve(root / "x.yaml").data == {"k": 1}


def test_a_file_outside_the_root_is_refused(tmp_path: Path) -> None:
    root = write(tmp_path, {"x.yaml": "k: 1", "a/y.yaml": ""})
    with pytest.raises(ConfigError, match="outside the repository"):
        resolve(root / "x.yaml", root=root / "a")


EXPLAINED = {
    "x.yaml": "base_config: [b.yaml, c.yaml]\ntraining:\n  learning_rate: 3.0\n  _delete_: [seed]\n"
    "model: {_delete_: true, a.b: 1}\n",
    "b.yaml": "base_config: d.yaml\ntraining:\n  learning_rate: 2.0\n",
    "c.yaml": "training: {seed: 1, max_steps: 5}\nmodel: {hidden_size: 8}\n",
    "d.yaml": "training:\n  learning_rate: 1.0\nmetadata: 5\n",
}


@pytest.mark.parametrize(
    ("key", "value", "steps"),
    [
        pytest.param(
            "training.learning_rate",
            3.0,
            ["d.yaml:2:18 sets", "b.yaml:3:18 sets", "x.yaml:3:18 sets"],
            id="three layers",
        ),
        pytest.param("training.max_steps", 5, ["c.yaml:1:32 sets"], id="inherited"),
        pytest.param("model.a.b", 1, ["x.yaml:5:9 deletes", "x.yaml:5:30 sets"], id="key with a dot"),
        pytest.param("metadata", 5, ["d.yaml:3:11 sets"], id="top"),
        pytest.param("model", {"a.b": 1}, ["c.yaml:2:8 sets", "x.yaml:5:8 sets"], id="mapping"),
    ],
)
def test_explain(tmp_path: Path, key: str, value: Any, steps: list[str]) -> None:
    found = explain(write(tmp_path, EXPLAINED) / "x.yaml", key, schema=False)
    assert found.value == value
    said = [
        f"{Path(step.location.path).name}:{step.location.line}:{step.location.column} {step.action}"
        for step in found.steps
    ]
    assert said == steps


def test_explain_shows_overrides_first_and_what_they_shadow(tmp_path: Path) -> None:
    found = explain(write(tmp_path, EXPLAINED) / "x.yaml", "training.learning_rate", ["training.learning_rate=4.0"])
    lines = str(found).splitlines()
    assert lines[0] == "training.learning_rate = 4.0"
    assert lines[1].startswith("  override 'training.learning_rate=4.0': sets 4.0")
    assert lines[2].endswith("x.yaml:3:18: sets 3.0, shadowed")


def test_explain_says_that_mappings_merge(tmp_path: Path) -> None:
    root = write(tmp_path, {"x.yaml": "base_config: b.yaml\nm: {a: 1}\n", "b.yaml": "m: {b: 2}\n"})
    last = str(explain(root / "x.yaml", "m", schema=False)).splitlines()[-1]
    assert last.endswith("b.yaml:1:4: sets a mapping, merged")


def test_explain_knows_defaults_legacy_names_and_near_names(tmp_path: Path) -> None:
    root = write(tmp_path, {"x.yaml": "training:\n  grad_clip_norm: 0.5\nplain: {a: 1}\n"})
    assert explain(root / "x.yaml", "training.eval_steps").steps == ()
    for key in ("training.grad_clip_norm", "training.max_grad_norm"):
        found = explain(root / "x.yaml", key)
        assert (found.key, found.value, found.steps[0].location.line) == ("training.max_grad_norm", 0.5, 2)
    with pytest.raises(ConfigError, match=r"did you mean 'training\.max_grad_norm'"):
        explain(root / "x.yaml", "training.max_grad_nrom")
