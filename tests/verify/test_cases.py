"""Reading cases: every mistake is told, with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from bem_core.errors import BemError
from migrate.verify.case_files import CaseError, load_case
from migrate.verify.cases import Places

SIDES = "reference: {command: [python, a.py]}\ncandidate: {command: [python, b.py]}\n"
WAIVER = "{id: W1, reason: rounding, channel: losses, expires: 2027-01-01}"


def written(folder: Path, text: str) -> Path:
    path = folder / "case.yaml"
    path.write_text(text)
    return path


def test_a_case(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "tiny.yaml").write_text("")
    text = """
reference:
  command: ["{python}", train.py, "--seed={seed}", "{config}", "{out}/x", "{shared}/data"]
  folder: old
  code: [old]
  environment: {PYTHONPATH: "{case}/old"}
candidate: {command: [train-new]}
prepare: [{command: [make-data, "{shared}"]}]
config: tiny.yaml
seeds: [1, 2]
names: {'a\\.(.*)': 'b.\\1'}
waivers: [{id: W1, reason: rounding, channel: losses, expires: 2027-01-01}]
"""
    case = load_case(written(tmp_path, text))
    words, variables = case.filled(case.reference, 2, Places(out=Path("/out"), shared=Path("/both")), "/bin/python3")
    assert words == ["/bin/python3", "train.py", "--seed=2", str(tmp_path / "tiny.yaml"), "/out/x", "/both/data"]
    assert variables == {"PYTHONPATH": str(tmp_path / "old")}
    assert (case.name, case.folder, case.waivers[0].id) == ("case", tmp_path, "W1")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", "expected a key 'reference'", id="empty"),
        pytest.param(SIDES + "step: 3", ":3:1: step: unknown key; did you mean 'steps'?", id="unknown key"),
        pytest.param(SIDES + "steps: 0", "steps: expected an integer at least 1, found 0", id="no steps"),
        pytest.param("name: a/b\n" + SIDES, "'a/b' names a folder of results", id="name with a slash"),
        pytest.param(SIDES + "seeds: []", "seeds: expected at least one seed", id="no seeds"),
        pytest.param(SIDES + "seeds: [1, 1]", "a seed is there twice", id="seed twice"),
        pytest.param(SIDES + "features: [clipp]", "did you mean 'clip'?", id="unknown feature"),
        pytest.param(SIDES + "config: none.yaml", "there is no file", id="no such configuration"),
        pytest.param(SIDES + "tolerance: {}", "tolerance: expected a key 'reason'", id="tolerance without reason"),
        pytest.param(SIDES + "tolerance: {reason: ' '}", "say why", id="empty reason"),
        pytest.param(SIDES + "waivers: [{id: W}]", "waivers.0: expected a key 'reason'", id="waiver lacks keys"),
        pytest.param(SIDES + f"waivers: [{WAIVER}, {WAIVER}]", "'W1' is there twice", id="waiver twice"),
        pytest.param(
            SIDES + f"waivers: [{WAIVER.replace('losses', 'loss')}]", "did you mean 'losses'?", id="unknown channel"
        ),
        pytest.param(
            "reference: {command: ['{shared}']}\ncandidate: {command: [b]}", "no key 'prepare'", id="nothing prepared"
        ),
        pytest.param(SIDES + "prepare: [{command: ['{out}']}]", "writes to {shared}", id="output of a preparation"),
        pytest.param(
            "reference: {command: [a], environment: {X: '{oout}'}}\ncandidate: {command: [b]}",
            "reference.environment.X: unknown placeholder {oout}",
            id="placeholder in a variable",
        ),
        pytest.param(SIDES + "only_reference: {'a.*': ''}", "say why only one side has it", id="lone without reason"),
        pytest.param(
            SIDES + "level: light\nonly_candidate: {a: old}", "expected 'full'", id="lone at a level without names"
        ),
        pytest.param(SIDES + "metrics: {names: {'(a': b}}", "metrics.names.(a: not a pattern", id="pattern of metrics"),
        pytest.param(
            SIDES + "metrics: {only_reference: {a: ' '}}", "say why only one side has it", id="metric without reason"
        ),
        pytest.param(SIDES + "metrics: {name: {a: b}}", "did you mean 'names'", id="unknown key of metrics"),
        pytest.param(
            SIDES + "checkpoints: {ignore: true}", "say why not everything is compared", id="ignored, no reason"
        ),
        pytest.param(SIDES + "checkpoints: {moments: shared}", "checkpoints.reason: empty", id="moments, no reason"),
        pytest.param(SIDES + "checkpoints: {only: 'a.*'}", "checkpoints.reason: empty", id="some keys without reason"),
        pytest.param(
            SIDES + "checkpoints: {names: {'(a': b}}", "checkpoints.names", id="broken pattern of checkpoints"
        ),
        pytest.param(
            SIDES + "checkpoints: {ignore: true, names: {a: b}, reason: why}", "not both", id="ignored and compared"
        ),
        pytest.param(
            "reference: {command: [a], checkpoints: 'a', resume: [--resume]}\ncandidate: {command: [b]}",
            "reference.resume: no word has {checkpoint}",
            id="resume without checkpoint",
        ),
        pytest.param(
            "reference: {command: [a], resume: ['{checkpoint}']}\ncandidate: {command: [b]}",
            "reference.checkpoints: missing: 'resume' needs a pattern",
            id="resume without checkpoints",
        ),
        pytest.param(
            "reference: {command: ['{checkpoint}']}\ncandidate: {command: [b]}",
            "{checkpoint} is for the words of 'resume'",
            id="checkpoint in the command",
        ),
        pytest.param(
            "reference: {command: [a], checkpoints: '(a)(b)'}\ncandidate: {command: [b]}",
            "expected one group",
            id="two groups",
        ),
        pytest.param(
            SIDES + "checkpoints: {only: '(a', reason: b}",
            "checkpoints.only: not a pattern",
            id="broken pattern of keys",
        ),
        pytest.param(SIDES + "names: {'(a': b}", "not a pattern of regular expressions", id="broken pattern"),
        pytest.param(SIDES + "names: {a: '\\2'}", "invalid group reference", id="broken replacement"),
        pytest.param(
            "reference: {command: ['{sed}'], folder: gone}\ncandidate: {command: ['{config}']}",
            "unknown placeholder {sed}; did you mean 'seed'?",
            id="unknown placeholder",
        ),
        pytest.param(
            SIDES + "equivalence: {reason: noise, margins: {loss: 0.1}}", "needs at least 3", id="too few seeds"
        ),
    ],
)
def test_mistakes_are_told_with_their_place(text: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(CaseError) as caught:
        load_case(written(tmp_path, text))
    assert expected in str(caught.value)
    assert "case.yaml" in str(caught.value)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = "reference: {command: ['{sed}'], folder: gone}\ncandidate: {command: []}\nseeds: [1, 1]\n"
    with pytest.raises(BemError) as caught:
        load_case(written(tmp_path, text))
    assert str(caught.value).startswith("4 problems in ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("goes_on_from: none.yaml\n" + SIDES, "goes_on_from: there is no file", id="no file"),
        pytest.param("goes_on_from: other.yaml\n" + SIDES, "other.yaml:", id="the other is wrong"),
        pytest.param("goes_on_from: third.yaml\n" + SIDES, "third.yaml:3:15: goes_on_from: case.yaml", id="two"),
        pytest.param(
            "goes_on_from: good.yaml\nprepare: [{command: [a]}]\n" + SIDES, "expected none of its own", id="prepares"
        ),
        pytest.param(
            "goes_on_from: good.yaml\nreference: {command: ['{shared}']}\ncandidate: {command: [b]}",
            "reference.command.0: {shared} is used, and good.yaml has no key 'prepare'",
            id="nothing shared",
        ),
        pytest.param(
            "reference: {command: ['{earlier}']}\ncandidate: {command: [b]}",
            "no key 'goes_on_from'",
            id="nothing earlier",
        ),
    ],
)
def test_mistakes_in_what_a_case_goes_on_from(text: str, expected: str, tmp_path: Path) -> None:
    for name, other in (("other", "steps: 0"), ("third", "goes_on_from: good.yaml"), ("good", "")):
        (tmp_path / f"{name}.yaml").write_text(SIDES + other)
    with pytest.raises(CaseError) as caught:
        load_case(written(tmp_path, text))
    assert expected in str(caught.value)
