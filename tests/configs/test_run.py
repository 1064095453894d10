from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from ruamel.yaml import YAML

from bem_core.config.merge import typed_equal
from bem_core.config.resolver import Resolver
from bem_core.errors import BemError, ConfigError
from migrate.configs import build
from migrate.configs.add import add
from migrate.configs.inputs import Options
from migrate.configs.run import VerificationError, refit, run
from migrate.configs.search import Plan, SearchOptions, Template, search
from migrate.journal import Journal
from tests.configs.plans import Documents, Find, one_template, options, pairs, tree_of, two_levels, write

PLAIN = {
    "a_one.yml": """\
        # First of all

        name: one
        # How it learns
        training:
          lr: 1e-4  # small
          steps: 100
          warmup: 10
        data: {path: d, size: 3}
        eval: {every: 10, metric: f1, sets: [dev]}
        """,
    "a_two.yml": """\
        # Second
        name: two
        training:
          lr: 1e-4  # as in the paper
          steps: 200
          warmup: 10
        data: {path: d, size: 4}
        eval: {every: 10, metric: f1, sets: [dev]}
        """,
    "b/three.yaml": """\
        name: three
        training: {lr: 1e-4, steps: 300}
        extra: [1, 2]
        eval: {every: 10, metric: f1, sets: [dev]}
        """,
    "b/four.yaml": """\
        name: four
        training:
          lr: 0.5
          warmup: 10
        extra:
          - 1
          # the second
          - 2
        # when
        eval:
          every: 10  # steps
          metric: f1
          sets: [dev]
        """,
}
HOSTILE: dict[str, str | bytes] = {
    "windows.yaml": b"# top\r\nname: w\r\nx: 1\r\ny: |\r\n  a\r\n  b\r\nz: 2\r\n",
    "bom.yaml": b"\xef\xbb\xbfname: m\nx: 1\ny: |\n  a\n  b\n",
    "flow.yaml": "{name: f, x: 1, l: [1, 2], m: {p: 1, q: 2}}\n",
    "json.yaml": '{\n  "name": "j",\n  "x": 1,\n  "l": [1, 2],\n  "m": {"p": 1, "q": 3}\n}\n',
    "numbers.yaml": "name: n\nn: {a: 010, b: 0o10, c: 1_000, d: 0x1F, e: 1:30, f: 5e-5, g: '5e-5', h: -0.0, i: .nan}\n",
    "numbers2.yaml": "name: o\nn:\n  a: 8\n  b: 8\n  c: 1000\n  d: 31\n  e: 90\n  f: '5e-5'\n  g: 5e-5\n"
    "  h: 0.0\n  i: .NaN\n",
    "numbers3.yaml": "name: p\nn:\n  a: 010\n  b: 0o10\n  c: 1_000\n  e: 1:30\n  f: 5e-5\n  g: '5e-5'\n"
    "  h: -0.0\n  i: .nan\n",
    "truth.yaml": "name: t\nt: {a: yes, b: no, c: on, d: true, e: 1, f: 1.0, g: 'yes', h: ~, i: null, j: }\n",
    "truth2.yaml": "name: u\nt: {a: true, b: false, c: True, d: 1, e: 1.0, f: 1, g: yes, h: '~', i: '', j: null}\n",
    "dates.yaml": "name: d\nat: 2024-01-01\non_: 2024-01-01 10:00:00\nraw: ${a.b}\nmust: ???\nkeep: '2024-01-01'\n",
    "dates2.yaml": "name: e\nat: '2024-01-01'\non_: 2024-01-01 10:00:00\nraw: ${a.b}\nmust: ???\nkeep: 2024-01-01\n",
    "blocks.yaml": "name: b\ns: |+\n  a\n\nt: >-\n  folded\n  text\nu: |2\n    in\n  out\nv: 'two\n\n"
    "  lines'\nw: plain\n  more\n",
    "blocks2.yaml": "name: c\nin:\n  s: 1\ns: |+\n  a\n\nt: >-\n  folded\n  text\nu: |2\n    in\n  out\n"
    "v: 'two\n\n  lines'\nw: plain\n  more\n",
    "Case.yaml": "name: upper\nx: 1\n",
    "case.yaml": "name: lower\nx: 1\n",
    "empty_map.yaml": "name: g\nm: {}\nl: []\n",
    "null_over_map.yaml": "name: h\nm:\nl: [1, 2]\n",
    "text_over_map.yaml": "name: i\nm: none\nl: [1, 2]\nn: 3\n",
    "signs.yaml": "name: 'it''s'\nx: 1\nu: \"tab\\t\\u00e9\"\nv: a#b\n'quoted key': {'': 1, 'a: b': 2}\n",
    "signs2.yaml": "name: s\nx: 1\nu: \"tab\\t\\u00e9\"\nv: a#b\n'quoted key': {'': 1, 'a: b': 2}\n",
}
ALONE = {
    "tabs.yaml": "a:\n\tb: 1\n",
    "anchors.yaml": "a: &x {b: 1}\nc: *x\n",
    "merge.yaml": "x: {a: 1}\n<<: {b: 1}\n",
    "two.yaml": "a: 1\n---\nb: 2\n",
    "list.yaml": "- 1\n",
    "keys.yaml": "1: a\n",
    "double.yaml": "a: 1\na: 2\n",
    "tag.yaml": "a: !x 1\n",
}
TREES: dict[str, dict[str, str | bytes]] = {
    "plain": dict(PLAIN),
    "hostile": HOSTILE | ALONE,
    "both": {**PLAIN, **HOSTILE},
}
FINDS: dict[str, Find] = {"pairs": pairs, "two levels": two_levels, "search": search}


def both_versions(raw: bytes) -> tuple[Any, Any]:
    """Read bytes with PyYAML and as YAML 1.2."""
    text = raw.decode("utf-8-sig")
    return yaml.safe_load(text), YAML(typ="safe", pure=True).load(io.StringIO(text))


def resolved(folder: Path, name: str) -> dict[str, Any]:
    return Resolver(folder.parent).resolve(folder / name).data


@pytest.fixture(params=TREES, ids=list(TREES))
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return write(tmp_path, TREES[request.param])


@pytest.mark.parametrize("find", FINDS.values(), ids=FINDS.keys())
def test_every_file_means_what_it_meant(folder: Path, find: Find) -> None:
    before = tree_of(folder)
    report = run(options(folder), find)
    after = tree_of(folder)
    alone = {Path(file.path).name for file in report.alone}
    assert alone == set(ALONE) & set(before)
    for name, raw in before.items():
        if name in alone:
            assert after[name] == raw
        else:
            assert typed_equal(resolved(folder, name), yaml.safe_load(raw.decode("utf-8-sig")))
    assert report.with_templates >= 0
    if find is not two_levels:
        assert any(name.startswith("templates/") for name in after)
        assert report.with_templates > 0


def twice_resolved(folder: Path, name: str) -> Any:
    """Resolve a file as YAML 1.2 would have it, with nothing but its own few rules."""
    data = both_versions((folder / name).read_bytes())[1]
    names = data.pop("base_config", [])
    base: dict[str, Any] = {}
    for one in [names] if isinstance(names, str) else names:
        base = simple_merge(base, twice_resolved(folder, str(Path(name).parent / one)))
    return simple_merge(base, data)


def simple_merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    deleted = over.get("_delete_", [])
    result = {} if deleted is True else {key: value for key, value in base.items() if key not in deleted}
    for key, value in over.items():
        if key != "_delete_":
            held = result.get(key)
            below = held if isinstance(held, dict) else {}
            result[key] = simple_merge(below, value) if isinstance(value, dict) else value
    return result


@pytest.mark.parametrize("find", FINDS.values(), ids=FINDS.keys())
def test_every_file_means_what_it_meant_under_yaml_1_2(folder: Path, find: Find) -> None:
    before = tree_of(folder)
    run(options(folder), find)
    for name, raw in before.items():
        if name not in ALONE:
            assert typed_equal(twice_resolved(folder, name), both_versions(raw)[1]), name


@pytest.mark.parametrize("find", FINDS.values(), ids=FINDS.keys())
def test_again_changes_nothing(folder: Path, find: Find) -> None:
    run(options(folder), find)
    once = tree_of(folder)
    again = run(options(folder), find)
    assert (again.changed, again.run) == ({}, "")
    assert refit(options(folder), find).changed == {}
    assert tree_of(folder) == once


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    trees = []
    for name in ("x", "y"):
        folder = write(tmp_path / name, dict(sorted(TREES["both"].items(), reverse=name == "y")))
        run(options(folder), search)
        trees.append(tree_of(folder))
    assert trees[0] == trees[1]


def test_undo_restores_every_byte(folder: Path) -> None:
    before = tree_of(folder)
    report = run(options(folder), pairs)
    assert report.run
    assert tree_of(folder) != before
    assert Journal(folder.parent).undo().state == "undone"
    assert tree_of(folder) == before


@pytest.mark.parametrize("mode", ["diff", "check"])
def test_showing_writes_nothing(folder: Path, mode: Any) -> None:
    before = tree_of(folder.parent)
    report = run(options(folder, mode=mode), pairs)
    assert report.exit_code == 1
    assert report.changed
    assert tree_of(folder.parent) == before


@pytest.mark.parametrize("find", FINDS.values(), ids=FINDS.keys())
def test_no_comment_vanishes_without_a_word(tmp_path: Path, find: Find) -> None:
    folder = write(tmp_path, PLAIN)
    comments = {mark for text in PLAIN.values() for mark in re.findall(r"# .*", text)}
    report = run(options(folder), find)
    after = "\n".join(raw.decode() for raw in tree_of(folder).values())
    told = "\n".join(finding.message for finding in report.findings)
    for comment in comments:
        assert after.count(comment) == 1 or comment in told


def test_a_template_has_the_values_comments_and_users_of_its_files(tmp_path: Path) -> None:
    folder = write(tmp_path, PLAIN)
    run(options(folder), one_template)
    assert (folder / "templates/base.yaml").read_text() == (
        "# Shared by the files below; written by `bem-migrate configs`.\n"
        "#   a_one.yml, a_two.yml, b/four.yaml, b/three.yaml\n"
        "\n"
        "training:\n"
        "  # as in the paper\n"
        "  lr: 1e-4  # small\n"
        "  warmup: 10\n"
        "\n"
        "data:\n"
        "  path: d\n"
        "extra:\n"
        "  - 1\n"
        "  # the second\n"
        "  - 2\n"
        "\n"
        "# when\n"
        "eval:\n"
        "  every: 10  # steps\n"
        "  metric: f1\n"
        "  sets: [dev]\n"
    )
    assert (folder / "a_one.yml").read_text() == (
        "# First of all\n\nbase_config: templates/base.yaml\n_delete_: [extra]\nname: one\n# How it learns\n"
        "training:\n  steps: 100\ndata: {size: 3}\n"
    )
    assert (folder / "b/four.yaml").read_text() == (
        "base_config: ../templates/base.yaml\n_delete_: [data]\nname: four\ntraining:\n  lr: 0.5\n"
    )


DANGLING = {
    "a.yml": "# Base\nbase_config: performance_variant.yaml  # old\nx: 1\ny: [1]\nz: 1\n",
    "b.yml": "base_config: [gone.yaml, also_gone.yaml]\nx: 1\ny: [1]\nz: 2\n",
    "c.yml": "base_config:\nx: 1\ny: [1]\nz: 2\n",
}


def test_files_with_broken_bases_and_read_only_ones_are_left_alone(tmp_path: Path) -> None:
    body = "x: 1\ny: [1]\nz: {}\n"
    names = ("one.yaml", "two.yaml", "locked.yaml", "on_broken.yaml", "round.yaml", "about.yaml")
    bases = {"on_broken.yaml": "broken.yaml", "round.yaml": "about.yaml", "about.yaml": "round.yaml"}
    files = {name: f"base_config: {bases[name]}\n{body}" if name in bases else body for name in names}
    folder = write(tmp_path, {**files, "broken.yaml": "a: [\n"})
    (folder / "locked.yaml").chmod(0o444)
    before = tree_of(folder)
    report = run(options(folder), one_template)
    reasons = {Path(file.path).name: file.reason for file in report.alone}
    assert set(reasons) == {"locked.yaml", "broken.yaml", *bases}
    assert reasons["locked.yaml"] == "read-only"
    assert "broken.yaml: cannot be used as a base: line 2" in reasons["on_broken.yaml"]
    assert "bases in a circle" in reasons["round.yaml"]
    after = tree_of(folder)
    assert {name for name in before if before[name] != after[name]} == {"one.yaml", "two.yaml"}
    assert report.exit_code == 0


def test_a_run_on_some_files_leaves_the_headers_as_they_are(tmp_path: Path) -> None:
    folder = write(tmp_path, {f"{letter}.yaml": "x: 1\ny: [1]\nz: 1\n" for letter in "abc"})
    run(options(folder), one_template)
    some = Options(paths=(str(folder / "b.yaml"),), root=tmp_path, jobs=1, mode="check")
    assert run(some, one_template).changed == {}


def test_a_base_that_is_not_there_is_dropped_with_a_finding(tmp_path: Path) -> None:
    folder = write(tmp_path, DANGLING)
    report = run(options(folder), one_template)
    named = [finding.message.split(",")[0] for finding in report.findings if finding.code == "BM201"]
    assert named == [
        "base_config named 'performance_variant.yaml'",
        "base_config named 'gone.yaml'",
        "base_config names no file: null: the line is dropped",
    ]
    assert [finding.message for finding in report.findings if finding.code == "BM202"] == [
        "comment of base_config is gone, with the old base_config line: # old"
    ]
    assert (folder / "a.yml").read_text() == "# Base\nbase_config: templates/base.yaml\nz: 1\n"
    assert report.exit_code == 1
    assert run(options(folder), one_template).exit_code == 0


def test_a_base_that_is_not_there_can_keep_its_file_as_it_is(tmp_path: Path) -> None:
    folder = write(tmp_path, DANGLING | {"d.yml": "x: 1\ny: [1]\n", "e.yml": "x: 1\ny: [1]\n"})
    before = tree_of(folder)
    report = run(options(folder, on_dangling="keep"), one_template)
    assert [Path(file.path).name for file in report.alone] == ["a.yml", "b.yml", "c.yml"]
    assert {name: raw for name, raw in tree_of(folder).items() if name in DANGLING} == {n: before[n] for n in DANGLING}


def test_a_base_that_is_not_there_can_stop_the_run(tmp_path: Path) -> None:
    folder = write(tmp_path, DANGLING)
    before = tree_of(folder.parent)
    with pytest.raises(ConfigError, match=r"(?s)a\.yml:2: .*performance_variant.*b\.yml:1: "):
        run(options(folder, on_dangling="error"), one_template)
    assert tree_of(folder.parent) == before


def test_a_base_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    files = {
        "shared.yml": "x: 1\ny: [1]\n",
        "user.yml": "base_config: shared.yml  # mine\ny: [2]\n",
        "sub/user.yml": "base_config: shared.yml\ny: [3]\n",
        "other.yml": "x: 1\ny: [1]\nz: 1\n",
    }
    folder = write(tmp_path, files)
    before = tree_of(folder)
    report = run(options(folder), one_template)
    after = tree_of(folder)
    assert "shared.yml" in report.changed
    for name in ("user.yml", "sub/user.yml"):
        assert after[name] == before[name]
    assert resolved(folder, "user.yml") == {"x": 1, "y": [2]}
    assert resolved(folder, "sub/user.yml") == {"x": 1, "y": [3]}


def test_a_broken_file_with_bases_does_not_stop_the_others(tmp_path: Path) -> None:
    files = {"p.yml": "base_config: q.yml\na: 1\n", "q.yml": "base_config: p.yml\na: 1\n"}
    folder = write(tmp_path, {**PLAIN, **files})
    report = run(options(folder), one_template)
    assert [Path(file.path).name for file in report.alone] == ["p.yml", "q.yml"]
    assert all("circle" in file.reason for file in report.alone)
    assert report.templates[1].files == 1


def fit_pinned(documents: Documents, search_options: SearchOptions) -> Plan:
    templates = [Template(n, (), dict(c), pinned=True) for n, c in enumerate(search_options.pinned)]
    return Plan(templates, dict.fromkeys(documents, (0,)))


def test_a_pinned_template_is_used_and_never_changed(tmp_path: Path) -> None:
    hand = "# By hand\nx: 1\ny: [1]  # ours\n"
    folder = write(tmp_path, {"a.yml": "x: 1  # mine\ny: [1]\nz: 1\n", "b.yml": "x: 1\ny: [1]\n", "hand.yaml": hand})
    report = run(options(folder, pins=(str(folder / "hand.yaml"),)), fit_pinned)
    after = tree_of(folder)
    assert after["hand.yaml"] == hand.encode()
    assert after["a.yml"] == b"base_config: hand.yaml\nz: 1\n"
    assert after["b.yml"] == b"base_config: hand.yaml\n"
    assert [finding.message for finding in report.findings] == [
        "comment of x is gone, its key is in hand.yaml, which stays as it is: # mine"
    ]


def test_two_bases_that_disagree_leave_the_word_to_the_file(tmp_path: Path) -> None:
    def find(documents: Documents, search_options: SearchOptions) -> Plan:
        if search_options.pinned:
            return fit_nothing(documents, search_options)
        one, two = {"x": "int 1", "y": "int 1", "s": "int 1"}, {"x": "int 2", "z": "int 1", "t": "int 1"}
        return Plan([Template(0, (), one), Template(1, (), two)], dict.fromkeys(documents, (0, 1)))

    files = {
        name: f"x: {x}\ny: 1\nz: 1\ns: 1\nt: 1\nown: {name}\n" for name, x in (("a.yml", 1), ("b.yml", 2), ("c.yml", 1))
    }
    folder = write(tmp_path, files)
    run(options(folder), find)
    assert (folder / "b.yml").read_text().splitlines()[1:] == ["x: 2", "own: b.yml"]
    assert {name: resolved(folder, name)["x"] for name in files} == {"a.yml": 1, "b.yml": 2, "c.yml": 1}


def fit_nothing(documents: Documents, search_options: SearchOptions) -> Plan:
    templates = [Template(n, (), dict(c), pinned=True) for n, c in enumerate(search_options.pinned)]
    return Plan(templates, dict.fromkeys(documents, ()))


def test_a_mismatch_aborts_the_run_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path, PLAIN)
    before = tree_of(folder.parent)
    right = build.render
    monkeypatch.setattr(build, "render", lambda *args: right(*args).replace("warmup: 10", "warmup: 10.0"))
    with pytest.raises(VerificationError, match=r"(?s)nothing was written.*training\.warmup \(10 to 10\.0\)"):
        run(options(folder), one_template)
    assert tree_of(folder.parent) == before


def in_order(folder: Path, name: str) -> list[Any]:
    return [(key, list(value) if isinstance(value, dict) else value) for key, value in resolved(folder, name).items()]


@pytest.mark.parametrize("find", FINDS.values(), ids=FINDS.keys())
def test_with_strict_order_keys_come_out_in_their_order(tmp_path: Path, find: Find) -> None:
    files = {
        "a.yml": "x: 1\ny: 1\nm: {p: 1, q: 2, r: 3}\nz: 1\nl: [{a: 1, b: 2}]\nn: a\n",
        "b.yml": "x: 1\ny: 1\nm: {p: 1, q: 2, r: 3}\nz: 1\nl: [{a: 1, b: 2}]\nn: b\n",
        "c.yml": "z: 1\ny: 1\nm: {r: 3, q: 2, p: 1}\nx: 1\nl: [{b: 2, a: 1}]\nn: c\n",
        "d.yml": "n: d\nx: 1\ny: 1\nm: {p: 1, q: 2, r: 3}\nl: [{b: 2, a: 1}]\n",
    }
    folder = write(tmp_path, files)
    before = {name: in_order(folder, name) for name in files}
    report = run(options(folder, order=True), find)
    assert report.experiments[1].leaves < report.experiments[0].leaves
    for name, text in files.items():
        assert in_order(folder, name) == before[name]
        assert typed_equal(resolved(folder, name), yaml.safe_load(text), order=True)
    once = tree_of(folder)
    assert refit(options(folder, order=True), find).changed == {}
    assert run(options(folder, order=True), find).changed == {}
    assert tree_of(folder) == once


def test_add_fits_one_file_and_touches_no_other(tmp_path: Path) -> None:
    folder = write(tmp_path, PLAIN)
    run(options(folder), search)
    before = tree_of(folder)
    new = folder / "b" / "five.yaml"
    new.write_text(
        "name: five\n# why\ntraining:\n  lr: 1e-4  # small\n  warmup: 10\n  steps: 5\ndata: {path: d, size: 5}\n"
    )
    old = yaml.safe_load(new.read_text())
    report = add(Options(paths=(str(new),), root=folder.parent, templates=str(folder / "templates")))
    assert list(report.changed) == ["b/five.yaml"]
    assert "base_config: ../templates/" in new.read_text()
    assert resolved(folder, "b/five.yaml") == old
    after = tree_of(folder)
    del after["b/five.yaml"]
    assert after == before


def test_add_needs_templates(tmp_path: Path) -> None:
    folder = write(tmp_path, PLAIN)
    with pytest.raises(BemError, match="no templates in"):
        add(options(folder))


def test_a_new_file_joins_the_templates_that_are_there(tmp_path: Path) -> None:
    folder = write(tmp_path, PLAIN)
    run(options(folder), one_template)
    before = tree_of(folder)
    (folder / "zz.yaml").write_text(
        "name: z\ntraining:\n  # much more\n  lr: 1e-4\n  warmup: 10\neval: {every: 10, metric: f1, sets: [dev]}\n"
    )
    report = run(options(folder), fit_pinned)
    assert sorted(report.changed) == ["templates/base.yaml", "zz.yaml"]
    template = (folder / "templates/base.yaml").read_text()
    assert "#   a_one.yml, a_two.yml, b/four.yaml, b/three.yaml, zz.yaml\n" in template
    assert template.count("  # much more\n") == 1
    assert {n: r for n, r in tree_of(folder).items() if n in PLAIN} == {n: before[n] for n in PLAIN}
    assert run(options(folder), fit_pinned).changed == {}


def test_refit_starts_over_and_removes_what_nothing_extends(tmp_path: Path) -> None:
    folder = write(tmp_path, PLAIN)
    originals = {name: resolved(folder, name) for name in PLAIN}
    run(options(folder), one_template)
    report = refit(options(folder), two_levels)
    states = {info.name: info.state for info in report.infos}
    assert "removed" in states.values() or "kept" in states.values()
    assert {name: resolved(folder, name) for name in PLAIN} == originals
    assert set(tree_of(folder)) - set(PLAIN) == {name for name, state in states.items() if state != "removed"}
    assert refit(options(folder), two_levels).changed == {}


def test_names_of_others_are_not_taken(tmp_path: Path) -> None:
    folder = write(tmp_path, {**PLAIN, "templates/Base.yaml": "by: hand\n"})
    run(options(folder), one_template)
    assert (folder / "templates/Base.yaml").read_text() == "by: hand\n"
    assert len(list((folder / "templates").iterdir())) == 2


def test_templates_can_lie_elsewhere_in_the_project_but_not_outside(tmp_path: Path) -> None:
    folder = write(tmp_path, PLAIN)
    given = options(folder)
    run(replace(given, templates=str(tmp_path / "shared")), one_template)
    assert "base_config: ../shared/base.yaml" in (folder / "a_one.yml").read_text()
    with pytest.raises(BemError, match="outside the project"):
        run(replace(given, templates=str(tmp_path.parent / "elsewhere")), one_template)


def test_templates_stay_as_long_as_a_file_elsewhere_extends_them(tmp_path: Path) -> None:
    folder = write(tmp_path, PLAIN)
    run(options(folder), one_template)
    with (folder / "b/four.yaml").open("a") as file:
        file.write("more: &x 1\n")  # from now on it is left alone
    report = refit(options(folder), two_levels)
    assert [Path(file.path).name for file in report.alone] == ["four.yaml"]
    assert (folder / "templates/base.yaml").exists()
    assert resolved(folder, "b/four.yaml")["eval"] == {"every": 10, "metric": "f1", "sets": ["dev"]}
    part = refit(Options((str(folder / "b"),), folder.parent, templates=str(folder / "templates")), fit_nothing)
    assert {info.name: info.state for info in part.infos}["templates/base.yaml"] != "removed"
    assert resolved(folder, "a_one.yml") == yaml.safe_load(PLAIN["a_one.yml"])


def test_the_next_run_searches_with_the_same_templates_in_the_same_order(tmp_path: Path) -> None:
    bodies = {"z": "p: 1\nq: [1]\nr: x\n", "a": "s: 2\nt: [2]\nu: y\n", "m": "v: 3\nw: [3]\nx: z\n"}
    files = {f"{letter}{number}.yaml": f"{body}own: {number}\n" for letter, body in bodies.items() for number in (1, 2)}
    folder = write(tmp_path, {**files, "alone.yaml": "nothing: shared\n"})
    asked: list[list[dict[str, Any]]] = []

    def find(documents: Documents, search_options: SearchOptions) -> Plan:
        asked.append([dict(content) for content in search_options.pinned])
        return pairs(dict(reversed(documents.items())), search_options)

    run(options(folder), find)
    last = asked[-1]
    assert len(last) == 3
    assert run(options(folder), find).changed == {}
    assert asked[-1] == last
