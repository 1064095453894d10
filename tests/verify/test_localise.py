"""From the first step that differs to the module, by traces of level ``deep`` of that step."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from migrate.cli import main
from migrate.verify.cases import plain_case
from migrate.verify.compare import compare
from migrate.verify.localise import localise
from migrate.verify.verdict import Localised
from tests.verify.refactorings import REFACTORINGS
from tests.verify.toys import Net, Toy

AT = 3


class Short(Toy):
    steps = 4


def changed(change: Any, base: type[Toy] = Short) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def reset(self) -> None:
            super().reset()
            if self.now:
                change(self.model)

    return Faulty


def located(
    kind: type[Toy],
    folder: Path,
    names: dict[str, str] | None = None,
    begin: int = AT - 2,
    reference: type[Toy] = Short,
) -> Localised:
    window = begin, AT + 1
    case = plain_case(names=names or {})
    pair = [one(folder, AT).record(folder / "run.trace", level="full") for one in (reference, kind)]
    first = compare(pair[0], pair[1], case).first
    assert first is not None
    assert first.step == AT
    deep = [one(folder, AT).record(folder / "run.trace", level="deep", steps=window) for one in (reference, kind)]
    return localise(deep[0], deep[1], first, case.names)[0]


def detach(model: Any) -> None:
    model.block.norm.register_forward_pre_hook(lambda module, args: (args[0].detach(),))


def bias_off(module: nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
    return output + 1e-3


@pytest.mark.parametrize(
    ("change", "module", "cause"),
    [
        pytest.param(lambda model: setattr(model.block.norm, "eps", 1e-6), "block.norm", "constant", id="norm"),
        pytest.param(lambda model: setattr(model.block, "approximate", "tanh"), "block", "another comp", id="function"),
        pytest.param(lambda model: model.head.register_forward_hook(bias_off), "head", "another comp", id="last"),
        pytest.param(detach, "batch_norm", "a detached", id="detached path"),
    ],
)
def test_the_first_module(change: Any, module: str, cause: str, tmp_path: Path) -> None:
    found = located(changed(change), tmp_path)
    assert found.module == module, found
    assert found.cause.startswith(cause) or cause in found.cause


@pytest.mark.parametrize(("level", "named"), [("deep", True), ("full", False)])
def test_the_command_names_the_module_if_the_traces_tell(level: str, named: bool, tmp_path: Path) -> None:
    faulty = changed(lambda model: setattr(model.block.norm, "eps", 1e-6))
    traces = []
    for name, kind in (("one", Short), ("other", faulty)):
        (tmp_path / name).mkdir()
        traces.append(str(kind(tmp_path / name, AT).record(tmp_path / name / "run.trace", level=level).path))
    done = CliRunner().invoke(main, ["verify", "compare", *traces])
    assert done.exit_code == 1
    assert f"first difference: step {AT}, forward" in done.output
    assert ("module block.norm: its inputs agree and its output differs" in done.output) == named
    assert ("likely cause: another computation in this module" in done.output) == named
    assert ("record both with --level deep" in done.output) != named
    same = CliRunner().invoke(main, ["verify", "compare", traces[0], traces[0]])
    assert same.exit_code == 0
    assert "module" not in same.output


class More(Net):
    """Gets something that it does not look at."""

    def forward(self, x: torch.Tensor, more: int = 0) -> torch.Tensor:
        return super().forward(x)


class Summed(Short):
    """Has another loss from a step on."""

    def loss(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return super().loss(outputs, labels) * (2 if self.hit else 1)


class SummedMore(Summed):
    """Calls the model in another way as well."""

    def make_model(self) -> nn.Module:
        return More()

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.model(features, 1)


@pytest.mark.parametrize("kind", [Summed, SummedMore])
def test_a_loss_is_no_matter_of_modules_and_gradients(kind: type[Toy], tmp_path: Path) -> None:
    assert located(kind, tmp_path).cause.startswith("another loss")


class Wide(Net):
    """Gives the head a dimension more, and takes it away again."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.block(self.batch_norm(self.inputs(x))).unsqueeze(1)).squeeze(1)


class SummedWide(Summed):
    """Has another loss as well."""

    def make_model(self) -> nn.Module:
        return Wide()


@pytest.mark.parametrize(("begin", "cause"), [(AT - 2, "another loss"), (AT - 1, "another comp")])
def test_a_module_in_another_form_is_known_from_the_step_before(begin: int, cause: str, tmp_path: Path) -> None:
    found = located(SummedWide, tmp_path, begin=begin)
    assert found.cause.startswith(cause), found


def test_what_the_first_module_gets_is_data(tmp_path: Path) -> None:
    class Scaled(Short):
        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return self.model(features * (1.01 if self.hit else 1))

    found = located(Scaled, tmp_path)
    assert found.module == "inputs"
    assert found.cause.startswith("another order of samples")


def test_modules_with_other_names(tmp_path: Path) -> None:
    make, names = REFACTORINGS["modules have other names"]
    renamed = changed(lambda model: setattr(model.body.norm, "eps", 1e-6), make(Short))
    assert located(renamed, tmp_path, names).module == "block.norm"


def test_a_difference_outside_of_modules(tmp_path: Path) -> None:
    class Limit(Short):
        @property
        def limit(self) -> float:  # type: ignore[override]
            return 0.5 if self.step != self.at else 0.6

    found = located(Limit, tmp_path)
    assert found.module is None
    assert "begins in phase clip" in found.detail


def test_another_form_of_inputs_is_not_the_cause_of_what_comes_later(tmp_path: Path) -> None:
    class Flagged(Net):
        def forward(self, x: torch.Tensor, flag: bool = True) -> torch.Tensor:
            return super().forward(x)

    class Limit(Short):
        def make_model(self) -> nn.Module:
            return Flagged()

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return self.model(features, True)  # type: ignore[no-any-return]

        def clip(self) -> None:
            nn.utils.clip_grad_norm_(self.model.parameters(), 0.5 if self.step != self.at else 0.6)

    found = located(Limit, tmp_path)
    assert found.module is None
    assert "begins in phase clip" in found.detail


class Drawing(Short):
    """Draws from two generators before each step."""

    def reset(self) -> None:
        super().reset()
        random.random()
        np.random.rand()


class DrawingMore(Short):
    """Draws in another order, which is no matter, and once more in one step, which is."""

    def reset(self) -> None:
        super().reset()
        np.random.rand()
        random.random()
        if self.now:
            np.random.randn()


class SeedingAgain(Drawing):
    def reset(self) -> None:
        if self.now:
            np.random.seed(9)
        super().reset()


@pytest.mark.parametrize(
    ("kind", "detail"),
    [
        (DrawingMore, "draw 2: reference: numpy.rand at toys.py:"),
        (SeedingAgain, "both sides draw from numpy alike, 3 times: "),
    ],
)
def test_the_first_draw_of_the_generator_that_differs(kind: type[Toy], detail: str, tmp_path: Path) -> None:
    found = located(kind, tmp_path, reference=Drawing)
    assert found.detail.startswith(detail)
    assert found.cause.startswith("a random draw")
