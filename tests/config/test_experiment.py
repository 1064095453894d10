"""Typed experiments: what a file may say, what it is told when it says something else, and what it loads to."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bem_core.config import ExperimentConfig, experiment_from_mapping, load_experiment_config, resolve
from bem_core.config.base_config import TrainingConfig
from bem_core.config.config_loader import InvalidConfig
from bem_core.config.legacy_names import RENAMED
from bem_core.config.merge import merge, overlay
from bem_core.config.schema import NUMBER_TEXT, Report, convert, describe, field_types, plain_number
from bem_core.errors import ConfigError
from tests.config.trees import write

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = sorted(path.name for path in (ROOT / "templates").glob("*.yaml"))

Load = Callable[..., ExperimentConfig]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Write the files of a repository and load its ``x.yaml``."""

    def load_x(text: str, *overrides: str, **files: str) -> ExperimentConfig:
        root = write(tmp_path, {"x.yaml": text} | {f"{name}.yaml": other for name, other in files.items()})
        return load_experiment_config(root / "x.yaml", overrides)

    return load_x


WRONG = [
    pytest.param(
        "training:\n  learning_rte: 1.0\n",
        ["x.yaml:2:3: training.learning_rte: unknown key; did you mean 'learning_rate'?"],
        id="unknown key",
    ),
    pytest.param(
        "output:\n  zzz: 1\n",
        ["x.yaml:2:3: output.zzz: unknown key; there are output_dir, checkpoint_name,"],
        id="unknown key that is near to none",
    ),
    pytest.param(
        "training:\n  param_groups:\n  - lr_multiplier: 2.0\n",
        ["x.yaml:3:5: training.param_groups.0: expected a key 'match'"],
        id="key of a nested mapping that is needed",
    ),
    pytest.param(
        "training:\n  dual:\n    match: [a]\n    learning_rte: 2.0\n",
        ["x.yaml:4:5: training.dual.learning_rte: unknown key; did you mean 'learning_rate'?"],
        id="unknown key of a nested mapping",
    ),
    pytest.param(
        "trainig:\n  a: 1\n", ["x.yaml:1:1: trainig: unknown section; did you mean 'training'?"], id="section"
    ),
    pytest.param("verson: '1'\n", ["x.yaml:1:1: verson: unknown key; did you mean 'version'?"], id="top-level scalar"),
    pytest.param("1: a\n", ["x.yaml:1:1: 1: unknown key"], id="key that is no text"),
    pytest.param("findings: []\n", ["findings: unknown key"], id="field that is no key"),
    pytest.param(
        "training: {batch_size: 0}\n",
        ["x.yaml:1:24: training.batch_size: expected an integer at least 1, found 0"],
        id="out of range",
    ),
    pytest.param(
        "training: {batch_size: '16'}\n",
        ["found the text '16'; without quotes it would be a number"],
        id="quoted integer",
    ),
    pytest.param("training: {max_steps: 1.5}\n", ["expected an integer at least 1 or null"], id="half a step"),
    pytest.param("training: {max_steps: 15e-1}\n", ["found the text '15e-1'"], id="half a step in text"),
    pytest.param("training: {batch_size: true}\n", ["found true"], id="boolean is no integer"),
    pytest.param("training: {learning_rate: true}\n", ["a number above 0, found true"], id="boolean is no number"),
    pytest.param("training: {learning_rate: fast}\n", ["expected a number above 0, found the text 'fast'"], id="text"),
    pytest.param("training: {learning_rate: .nan}\n", ["found nan"], id="nan"),
    pytest.param("training: {learning_rate: .inf}\n", ["found inf"], id="infinity"),
    pytest.param("training: {learning_rate: 1e999}\n", ["found the text '1e999'"], id="too large"),
    pytest.param("training: {deterministic: 1}\n", ["expected true or false, found 1"], id="number is no boolean"),
    pytest.param("training: {deterministic: 'yes'}\n", ["found the text 'yes'"], id="quoted boolean"),
    pytest.param("version: 1.0\n", ["expected a text or null, found 1.0; quotes make it a text"], id="number as text"),
    pytest.param("logging: {level: info}\n", ["one of 'DEBUG', 'INFO', 'WARNING'"], id="case of a choice"),
    pytest.param("model: {torch_dtype: float23}\n", ["did you mean 'float32'?"], id="near a choice"),
    pytest.param(
        "training: {eval_strategy: no}\n", ["found false; no, off, yes and on are texts only in quotes"], id="plain no"
    ),
    pytest.param("training: {seeds: [1, x, -1]}\n", ["training.seeds.1: ", "training.seeds.2: "], id="elements"),
    pytest.param("training: {loss_weights: {a: b}}\n", ["training.loss_weights.a: expected a number"], id="values"),
    pytest.param("training: 5\n", ["x.yaml:1:11: training: expected a mapping, found 5"], id="scalar as section"),
    pytest.param("training:\n", ["training: expected a mapping, found null"], id="null as section"),
    pytest.param("metadata: [1]\n", ["metadata: expected a mapping, found a list"], id="list as section"),
    pytest.param("evaluation: {metrics: EM}\n", ["expected a list, each a text, found the text 'EM'"], id="no list"),
    pytest.param(
        "training:\n  grad_clip_norm: 1.0\n  max_grad_norm: 2.0\n",
        [
            "x.yaml:2:3: training.grad_clip_norm: legacy name of training.max_grad_norm, which is 1.0 here and 2.0 at",
            ":3:3",
        ],
        id="two names, two values",
    ),
    pytest.param(
        "training:\n  a_b: 1\n  seed: x\nmodl: {}\nlogging: {level: 3}\n",
        ["4 problems in", "training.a_b", "training.seed", "modl", "logging.level"],
        id="all at once",
    ),
]


@pytest.mark.parametrize(("text", "words"), WRONG)
def test_wrong_keys_and_values(load: Load, text: str, words: list[str]) -> None:
    with pytest.raises(InvalidConfig) as error:
        load(text)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_a_wrong_value_is_reported_where_it_was_written(load: Load) -> None:
    base = "training:\n  batch_size: 0\n  bad_key: 1\n  seed: 1\n"
    with pytest.raises(InvalidConfig) as error:
        load("base_config: b.yaml\ntraining: {seed: -1}\n", "logging.level=LOUD", b=base)
    places = [line.split(": ")[0].rpartition("/")[2] for line in error.value.problems]
    assert sorted(places) == ["b.yaml:2:15", "b.yaml:3:3", "override 'logging.level=LOUD'", "x.yaml:2:18"]


RIGHT = [
    pytest.param("training: {learning_rate: 5e-5}", "learning_rate", 5e-5, id="number that PyYAML reads as text"),
    pytest.param("training: {learning_rate: 1}", "learning_rate", 1.0, id="integer as number"),
    pytest.param("training: {learning_rate: '.5'}", "learning_rate", 0.5, id="quoted number"),
    pytest.param("training: {max_steps: 1e4}", "max_steps", 10_000, id="steps with an exponent"),
    pytest.param("training: {max_steps: 1000.0}", "max_steps", 1000, id="steps with a point"),
    pytest.param("training: {max_steps: null}", "max_steps", None, id="null where it is allowed"),
    pytest.param("training: {warmup_ratio: 0}", "warmup_ratio", 0.0, id="bound"),
    pytest.param("training: {loss_weights: {a: 1e-2}}", "loss_weights", {"a": 0.01}, id="mapping of numbers"),
    pytest.param("training: {params: {any: [1, {x: 2}]}}", "params", {"any": [1, {"x": 2}]}, id="free section"),
    pytest.param("training: {eval_every: 7}", "eval_steps", 7, id="legacy name"),
    pytest.param("seed: 7", "seed", 7, id="legacy name at the top"),
    pytest.param("system: {deterministic: true}", "deterministic", True, id="legacy name in another section"),
    pytest.param("training: {lora_alpha: 7}", "params", {"lora_alpha": 7}, id="parameter of a component"),
    pytest.param("training: {max_grad_norm: 2.0, grad_clip_norm: 2.0}", "max_grad_norm", 2.0, id="two names"),
]


@pytest.mark.parametrize(("text", "name", "value"), RIGHT)
def test_values_of_training(load: Load, text: str, name: str, value: Any) -> None:
    found = getattr(load(text).training, name)
    assert (type(found), found) == (type(value), value)


def test_an_empty_file_has_all_defaults_and_the_name_of_the_file(load: Load) -> None:
    assert load("") == ExperimentConfig(name="x")


def test_sections_of_components_are_free(load: Load) -> None:
    config = load("router: {num_experts: 4, anything: {at: all}}\nexperiment: {a: 1}\n")
    assert config.components == {"router": {"num_experts": 4, "anything": {"at": "all"}}, "experiment": {"a": 1}}


def test_legacy_names_inherit_like_the_names_they_stand_for(load: Load) -> None:
    config = load(
        "base_config: b.yaml\ntraining: {gradient_clip_norm: 0.5, _delete_: [evaluation_steps]}\n_delete_: [seed]\n",
        b="training: {max_grad_norm: 1.0, eval_every: 7, batch_size: 4}\nseed: 5\nhardware: {fp16: on, bf16: off}\n",
    )
    assert (config.training.max_grad_norm, config.training.batch_size) == (0.5, 4)
    assert (config.training.eval_steps, config.training.seed) == (TrainingConfig().eval_steps, TrainingConfig().seed)
    assert config.hardware.mixed_precision == "fp16"
    lines = {finding.key: str(finding) for finding in config.findings}
    assert (
        ":2:12: training.gradient_clip_norm: legacy name of training.max_grad_norm"
        in lines["training.gradient_clip_norm"]
    )
    assert "says nothing" in lines["hardware.bf16"]


def test_legacy_names_lead_to_names_of_the_schema() -> None:
    known = ExperimentConfig().to_dict()
    for old, new in RENAMED.items():
        assert new not in RENAMED, f"{old} leads to {new}, which is a legacy name itself"
        section = known[new[0]]
        assert len(new) == 1 or new[1] in section or new[0] == "metadata", f"{old} leads to {new}, which does not exist"
        assert len(old) == 1 or old[0] not in known or old[1] not in known[old[0]], f"{old} is a name of the schema"


def test_numbers_as_text_are_found_in_free_sections_only(load: Load) -> None:
    free = "metadata:\n  a: 1e-3\n  b: '1e-3'\n  c: [x, 2E5]\nfp8: {tolerance: 1e-2}\n"
    config = load(f"{free}training: {{learning_rate: 1e-3}}\n")
    found = [(one.location.line, one.key) for one in config.findings if one.code == "number-as-text"]
    assert sorted(found) == [(2, "metadata.a"), (4, "metadata.c.1"), (5, "fp8.tolerance")]
    assert any("write 1.0e-3," in str(finding) for finding in config.findings)


@given(st.from_regex(NUMBER_TEXT, fullmatch=True))
def test_the_advice_for_a_number_is_a_number(text: str) -> None:
    number = yaml.safe_load(plain_number(text))
    assert isinstance(number, int if text.startswith("0o") else float)
    assert number == (int(text, 8) if text.startswith("0o") else float(text))


def test_findings_are_logged_with_one_warning(load: Load, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        load("seed: 1\nmetadata: {a: 1e-3}\n")
    levels = [record.levelname for record in caplog.records]
    assert (levels.count("WARNING"), levels.count("INFO")) == (1, 2)
    assert "2 things to look at" in caplog.text


OVERRIDES = [
    pytest.param("training.learning_rate=1e-4", ["training", "learning_rate"], 1e-4, id="number"),
    pytest.param("training.max_steps=null", ["training", "max_steps"], None, id="null"),
    pytest.param("training.seeds=[4, 5]", ["training", "seeds"], [4, 5], id="list"),
    pytest.param("router={num_experts: 4}", ["router"], {"num_experts": 4, "a": 1}, id="mapping merges"),
    pytest.param("router.new.deep=x", ["router", "new"], {"deep": "x"}, id="new key of a component"),
    pytest.param("description='a=b: c'", ["description"], "a=b: c", id="quoted"),
    pytest.param("description=", ["description"], None, id="nothing is null"),
    pytest.param("training.gradient_clip_norm=3.0", ["training", "max_grad_norm"], 3.0, id="legacy name"),
    pytest.param("metadata._delete_=x", ["metadata", "_delete_"], "x", id="no directives"),
]


@pytest.mark.parametrize(("override", "path", "value"), OVERRIDES)
def test_overrides(load: Load, override: str, path: list[str], value: Any) -> None:
    found: Any = load("router: {a: 1}\ntraining: {seeds: [1], max_steps: 5}\n", override).to_dict()
    for key in path:
        found = found[key]
    assert (type(found), found) == (type(value), value)


def test_later_overrides_win(load: Load) -> None:
    assert load("", "training.seed=1", "training.seed=2").training.seed == 2


@pytest.mark.parametrize(
    ("override", "words"),
    [
        pytest.param("training.seed", "expected dotted.key=value", id="no value"),
        pytest.param("=1", "expected dotted.key=value", id="no key"),
        pytest.param("training..seed=1", "expected dotted.key=value", id="empty part"),
        pytest.param("training.seed=[1", "the value is not YAML", id="open bracket"),
        pytest.param("description=a: b: c", "the value is not YAML", id="two colons"),
        pytest.param("description=a\nb: 1", "the value is not one value", id="a second key"),
        pytest.param("name=!!python/name:os.system x", "not allowed", id="python tag"),
        pytest.param("training.seeds.0=1", "training.seeds is a list; give the whole list", id="into a list"),
        pytest.param("training.sed=1", "override 'training.sed=1': training.sed: unknown key", id="key"),
    ],
)
def test_bad_overrides(load: Load, override: str, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        load("training: {seeds: [1]}", override)
    assert words in str(error.value)


@pytest.mark.parametrize("name", TEMPLATES)
def test_templates_are_valid_and_say_nothing_twice(name: str, tmp_path: Path) -> None:
    path = ROOT / "templates" / name
    config = load_experiment_config(path)
    assert config.findings == ()
    own = yaml.safe_load(path.read_text())
    if base := own.pop("base_config", None):
        full = merge(resolve(path.parent / base).data, own)
        assert overlay(resolve(path.parent / base).data, full) == own
    write(tmp_path, {"x.yaml": f"base_config: templates/{name}\n"})
    assert load_experiment_config(tmp_path / "x.yaml") == dataclasses.replace(config, name="x")
    assert (config.description, config.variant_id, config.output.output_dir) == (None, None, None)


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_written_experiment_loads_to_an_equal_one(name: str, load: Load) -> None:
    config = load_experiment_config(ROOT / "templates" / name)
    assert load(yaml.safe_dump(config.to_dict(), sort_keys=False)) == config


@given(st.data())
def test_what_fits_the_schema_survives_writing_and_reading(data: st.DataObject) -> None:
    fields = field_types(TrainingConfig)
    name = data.draw(st.sampled_from(sorted(fields)))
    value = data.draw(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.just({"a": 1.0})))
    report = Report()
    made = convert(fields[name], value, (name,), report)
    if not report.problems:
        again = convert(fields[name], yaml.safe_load(yaml.safe_dump([made]))[0], (name,), report)
        assert not report.problems
        assert again == made


HOSTILE = [
    pytest.param("'training: {' + ''.join(f'k{n}: 1, ' for n in range(40_000)) + '}'", id="unknown keys"),
    pytest.param("'metadata: {' + ''.join(f'k{n}: 1e-3, ' for n in range(40_000)) + '}'", id="numbers as text"),
    pytest.param("'metadata: {' + ''.join(f'{n}: 1, ' for n in range(40_000)) + '}'", id="keys that are numbers"),
    pytest.param("'seed: 1\\ntraining: {params: {' + ''.join(f'k{n}: 1, ' for n in range(40_000)) + '}}'", id="legacy"),
    pytest.param("''.join(f'trainin{n}: {{}}\\n' for n in range(30_000))", id="sections that are nearly known"),
    pytest.param("'training: {seeds: [' + 'x, ' * 40_000 + ']}'", id="wrong elements"),
    pytest.param("'base_config: [' + 'x.yaml, ' * 40_000 + ']'", id="bases"),
]
LOADER = """\
import logging, pathlib, resource
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
logging.disable()
from bem_core.config import load_experiment_config
from bem_core.errors import ConfigError
pathlib.Path("x.yaml").write_text({expression})
try:
    load_experiment_config("x.yaml", ["metadata.a=1"])
except ConfigError as error:
    print(len(str(error).splitlines()))
"""


@pytest.mark.parametrize("expression", HOSTILE)
def test_hostile_experiments_take_little_time_and_memory(expression: str, tmp_path: Path) -> None:
    # A minute, on a machine that may be busy: seconds are the rule. Quadratic steps would take hours.
    command = [sys.executable, "-c", LOADER.format(expression=expression)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=tmp_path, env=environment, timeout=60, check=True)


def test_torch_is_not_imported() -> None:
    code = "import sys, bem_core.config; print({'torch', 'numpy'} & {name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "set()"


def test_templates_are_found_when_installed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "wheel", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(tmp_path), str(ROOT)], check=True, capture_output=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    write(tmp_path / "repo", {name: f"base_config: templates/{name}\nname: mine\n" for name in TEMPLATES})
    code = (
        "import sys, pathlib; sys.path.insert(0, 'site')\n"
        "import bem_core.config as config\n"
        "assert pathlib.Path(config.__file__).is_relative_to(pathlib.Path('site').resolve())\n"
        "for path in pathlib.Path('repo').glob('*.yaml'):\n"
        "    print(config.load_experiment_config(path).name)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False
    )
    assert done.stdout.split() == ["mine"] * len(TEMPLATES), done.stderr


def test_every_key_of_the_schema_is_documented_with_its_type_and_default() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    for section, kind in field_types(ExperimentConfig).items():
        if dataclasses.is_dataclass(kind):
            default = kind()
            for name, below in field_types(kind).items():
                row = f"| `{name}` | {describe(below)} | `{json.dumps(getattr(default, name))}` |"
                assert row in text.partition(f"### `{section}`")[2].partition("###")[0], f"{section}: {row}"
        elif section not in ("components", "findings", "sources"):
            assert f"| `{section}` | {describe(kind)} |" in text


def test_an_experiment_is_also_made_of_plain_data() -> None:
    config = experiment_from_mapping({"name": "x", "training": {"max_steps": 5, "dual": {"match": ["scale"]}}})
    assert config.training.dual is not None
    assert config.training.dual.learning_rate == 0.01
    assert set(config.sources) == {"name", "training.max_steps", "training.dual.match"}
    assert experiment_from_mapping(config.to_dict()) == config
    with pytest.raises(InvalidConfig, match=r"the configuration: training.max_stps: unknown key; did you mean"):
        experiment_from_mapping({"training": {"max_stps": 5}})


def test_the_place_of_each_value_that_is_set_is_kept(load: Load) -> None:
    base = "training:\n  seed: 1\n  max_steps: 3\n"
    config = load("base_config: b.yaml\ntraining:\n  seed: 2\n", "training.max_epochs=1", b=base)
    places = {key: Path(place.rpartition("/")[2]).name for key, place in config.sources.items()}
    assert places == {
        "training.seed": "x.yaml:3:9",
        "training.max_steps": "b.yaml:3:14",
        "training.max_epochs": "override 'training.max_epochs=1'",
    }


def test_the_documented_example_loads(load: Load) -> None:
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    config = load(text.partition("```yaml\n")[2].partition("```")[0], "training.seed=7")
    assert (config.name, config.training.learning_rate, config.training.max_steps) == ("router_8_experts", 1e-4, None)
    assert config.components["router"]["num_experts"] == 8
    assert config.findings == ()
