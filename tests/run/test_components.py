"""Which trainer an experiment gets: entry points of installed distributions, or what is given."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bem_core.components import ComponentError, find_entry, find_trainer
from bem_core.config import ExperimentConfig
from tests.run.site import install


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(install(tmp_path / "site"))
    for name in ("tiny_component", "needs_more"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path / "site"


def test_the_type_of_an_experiment_names_the_entry_point(site: Path) -> None:
    trainer = find_trainer(ExperimentConfig(experiment_type="tiny", variant_id="whatever"))
    assert (trainer.__module__, trainer.__name__) == ("tiny_component", "Tiny")


def test_a_given_trainer_goes_before_the_experiment(site: Path) -> None:
    assert find_trainer(ExperimentConfig(experiment_type="lost"), "tiny_component:Tiny").__name__ == "Tiny"


CASES = {
    "mistyped": (
        "tinny",
        None,
        "no component is called 'tinny'; did you mean 'tiny'?; installed: ",
    ),
    "module is gone": ("lost", None, "'lost' of tiny-component (tiny_component.gone:Tiny): there is no module"),
    "needs a package": ("needy", None, "it needs the module 'surely_not_installed', which is not installed"),
    "no trainer": ("number", None, "expected a subclass of bem_core.training.base_trainer.BaseTrainer"),
    "methods are missing": ("unfinished", None, "Unfinished lacks _compute_loss, _evaluate"),
    "given without a class": ("tiny", "tiny_component", "--trainer tiny_component: expected package.module:Class"),
    "given class mistyped": ("tiny", "tiny_component:Tinny", "tiny_component has no 'Tinny'; did you mean 'Tiny'?"),
    "given module mistyped": ("tiny", "tinny_component:Tiny", "there is no module 'tinny_component'"),
}


@pytest.mark.parametrize("case", CASES)
def test_wrong_names_are_one_error(case: str, site: Path) -> None:
    kind, given, message = CASES[case]
    with pytest.raises(ComponentError) as caught:
        find_trainer(ExperimentConfig(experiment_type=kind), given)
    assert message in str(caught.value)


def test_two_distributions_with_one_name_are_an_error(site: Path) -> None:
    info = site / "other-2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 2.0\n")
    (info / "entry_points.txt").write_text("[bem_core.components]\ntiny = other_component:Tiny\n")
    with pytest.raises(ComponentError, match=r"'tiny' is served by several packages: .*other_component:Tiny of other"):
        find_entry("tiny")
