"""Sections of components: typed by the component, with the places of what is wrong in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from bem_core.config import (
    check_sections,
    experiment_from_mapping,
    invalid,
    load_experiment_config,
    loss_weights,
    read_section,
    read_sections,
)
from bem_core.config.schema import Positive
from bem_core.errors import ConfigError

TEXT = """\
training:
  params:
    clip_ratio: 0.1
adapter:
  rank: 4
  scale: 5e-1
"""


@dataclass(frozen=True, kw_only=True)
class Adapter:
    rank: Positive = 8
    scale: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Clip:
    clip_ratio: float = 0.2
    kl_target: float = 0.01


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "one.yml"
    path.write_text(TEXT)
    return path


def test_values_defaults_and_texts_that_are_numbers(file: Path) -> None:
    config = load_experiment_config(file)
    assert read_section(config, "adapter", Adapter) == Adapter(rank=4, scale=0.5)
    assert read_section(config, "training.params", Clip) == Clip(clip_ratio=0.1)
    assert read_section(config, "nothing", Adapter) == Adapter()


def test_all_problems_at_once_with_their_lines(file: Path) -> None:
    file.write_text(TEXT.replace("rank: 4", "rank: 0").replace("clip_ratio", "clip_rato") + "  rnak: 3\n")
    config = load_experiment_config(file)
    with pytest.raises(ConfigError) as error:
        read_sections(config, {"adapter": Adapter, "training.params": Clip})
    lines = str(error.value).splitlines()
    assert lines[0] == "3 problems in one"
    assert any(":5:" in line and "adapter.rank: expected an integer at least 1, found 0" in line for line in lines)
    assert any(":7:" in line and "did you mean 'rank'?" in line for line in lines)
    assert any(":3:" in line and "did you mean 'clip_ratio'?" in line for line in lines)


def test_unknown_sections_are_named(file: Path) -> None:
    config = load_experiment_config(file)
    check_sections(config, ["adapter"])
    with pytest.raises(ConfigError, match=r"one\.yml:5:\d+: adapter: unknown section; did you mean 'adapters'\?"):
        check_sections(config, ["adapters", "other"])


PLACES = {
    "leaf": ("adapter.rank", ":5:"),
    "section": ("adapter", ":5:"),
    "beside it": ("adapter.missing", ":5:"),
    "nowhere": ("model.params.x", "one: model.params.x"),
}


@pytest.mark.parametrize(("key", "part"), PLACES.values(), ids=PLACES)
def test_errors_of_components_name_a_place(file: Path, key: str, part: str) -> None:
    error = invalid(load_experiment_config(file), key, "wrong")
    assert part in str(error)
    assert str(error).endswith(f"{key}: wrong")


def test_without_a_file() -> None:
    config = experiment_from_mapping({"adapter": {"rank": -1}})
    with pytest.raises(ConfigError, match=r"the configuration: adapter\.rank: expected"):
        read_section(config, "adapter", Adapter)


def test_weights_of_losses(tmp_path: Path) -> None:
    path = tmp_path / "one.yml"
    path.write_text("training:\n  loss_weights:\n    answer: 2\n    coverge: 1\n    foo: 1\n")
    terms = {"answer": 1.0, "coverage": 0.1}
    config = load_experiment_config(path)
    with pytest.raises(ConfigError) as error:
        loss_weights(config, terms)
    assert "one.yml:4:14: training.loss_weights.coverge: the loss has no such term; did you mean 'coverage'?" in str(
        error.value
    )
    assert "foo: the loss has no such term; there are answer, coverage" in str(error.value)
    assert loss_weights(config, terms | {"coverge": 0, "foo": 0})["answer"] == 2
    assert loss_weights(experiment_from_mapping({}), terms) == terms
