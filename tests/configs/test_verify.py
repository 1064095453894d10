from __future__ import annotations

from pathlib import Path

import pytest

from migrate.configs.readback import Claim, difference
from migrate.configs.run import run
from migrate.configs.verify import Proof, verify
from tests.configs.mutants import survivors
from tests.configs.plans import Find, one_template, options, pairs, tree_of, write
from tests.configs.test_run import HOSTILE, PLAIN


@pytest.mark.parametrize(
    ("files", "find", "least"), [(PLAIN, one_template, 8), (HOSTILE, pairs, 25)], ids=["plain", "hostile"]
)
def test_every_change_of_one_value_in_a_template_is_found(
    tmp_path: Path, files: dict[str, str | bytes], find: Find, least: int
) -> None:
    folder = write(tmp_path, files)
    before = {name: raw.decode("utf-8-sig") for name, raw in tree_of(folder).items()}
    run(options(folder), find)
    number, missed = survivors(folder, before)
    assert missed == []
    assert number >= least


CHANGES = {
    "type": ("x: 1\n", "x: 1.0\n", "YAML 1.1: x (1 to 1.0)"),
    "truth": ("x: 1\n", "x: true\n", "YAML 1.1: x (1 to True)"),
    "text": ("x: 5e-5\n", "x: 5.0e-5\n", "YAML 1.1: x ('5e-5' to 5e-05)"),
    "only under 1.2": ("x: yes\n", "x: true\n", "YAML 1.2: x ('yes' to True)"),
    "octal under 1.2": ("x: 010\n", "x: 8\n", "YAML 1.2: x (10 to 8)"),
    "missing": ("x: 1\ny: {z: 1, w: 2}\n", "x: 1\ny: {w: 2}\n", "YAML 1.1: y.z (missing)"),
    "new": ("x: 1\n", "x: 1\ny: 1\n", "YAML 1.1: y (new)"),
    "null is no missing key": ("x: 1\ny:\n", "x: 1\n", "YAML 1.1: y (missing)"),
    "signed zero": ("x: -0.0\n", "x: 0.0\n", "YAML 1.1: x (-0.0 to 0.0)"),
    "order in a list": ("x: [1, 2]\n", "x: [2, 1]\n", "YAML 1.1: x ([1, 2] to [2, 1])"),
    "empty mapping": ("x: {}\n", "x:\n", "YAML 1.1: x ({} to None)"),
    "base that is not there": ("x: 1\n", "base_config: gone.yaml\nx: 1\n", "there is no file 'gone.yaml'"),
    "no YAML": ("x: 1\n", "x: [\n", "a.yaml:2"),
}


@pytest.mark.parametrize(("before", "after", "message"), CHANGES.values(), ids=CHANGES.keys())
def test_a_change_is_named(tmp_path: Path, before: str, after: str, message: str) -> None:
    path = str(tmp_path / "a.yaml")
    (found,) = verify(tmp_path, {path: after}, [Claim(path, before)])
    assert message in found.message
    assert not found.unreadable


def test_order_counts_only_when_it_is_to(tmp_path: Path) -> None:
    path = str(tmp_path / "a.yaml")
    claim = Claim(path, "x: 1\ny: {a: 1, b: 2}\n")
    new = {path: "x: 1\ny: {b: 2, a: 1}\n"}
    assert verify(tmp_path, new, [claim]) == []
    (found,) = verify(tmp_path, new, [claim], order=True)
    assert found.message == "YAML 1.1: the order of keys would change"


def test_nan_is_nan(tmp_path: Path) -> None:
    path = str(tmp_path / "a.yaml")
    assert verify(tmp_path, {path: "x: .NaN\n"}, [Claim(path, "x: .nan\n")]) == []


def test_what_yaml_1_2_cannot_read_is_told_apart(tmp_path: Path) -> None:
    path = str(tmp_path / "a.yaml")
    text = "x: 'a'\ny: \"\\ud800\"\n"
    (found,) = verify(tmp_path, {path: "x: [\n"}, [Claim(path, text + "z: [\n")])
    assert found.unreadable


def test_many_files_are_spread_over_processes(tmp_path: Path) -> None:
    new = {str(tmp_path / f"{number}.yaml"): f"x: {number % 97}\n" for number in range(200)}
    claims = [Claim(path, f"x: {number % 97 if number != 123 else 0}\n") for number, path in enumerate(new)]
    with Proof(tmp_path, False, 2, len(claims)) as proof:
        proof.read(claims)
        found = proof.check({}, new, new)
    assert [Path(mismatch.path).name for mismatch in found] == ["123.yaml"]


def test_a_difference_is_named_by_its_path() -> None:
    assert difference({"a": {"b": [1]}}, {"a": {"b": [1]}}) == ""
    assert difference({"a": {"b": [1]}}, {"a": {"b": [1.0]}}) == "a.b ([1] to [1.0])"
