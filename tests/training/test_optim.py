"""Which parameters are trained, how they are grouped, how the learning rate moves."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bem_core.config.training_config import DualConfig, ParamGroupConfig, TrainingConfig
from bem_core.errors import ConfigError
from bem_core.training.optim import make_dual_optimizer, make_optimizer, parameter_groups, without_decay
from bem_core.training.schedules import make_scheduler
from tests.training.trainers import Classifier, prepared, trained, weights


class ScaleNorm(nn.Module):
    """A norm of a project's own; also one that torch does not know."""

    def __init__(self) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.ones(1))

    def forward(self, features: Tensor) -> Tensor:
        return features * self.g


class Tied(nn.Module):
    """A model whose head is the table of embeddings; the head comes first."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 7)
        self.table = nn.Embedding(7, 4)
        self.head.weight = self.table.weight
        self.norms = nn.ModuleList([nn.LayerNorm(4), nn.RMSNorm(4), nn.BatchNorm1d(4), nn.GroupNorm(2, 4), ScaleNorm()])
        self.attention_bias = nn.Parameter(torch.zeros(4))
        self.plain = nn.Linear(4, 4)


NORMS = {f"norms.{name}" for name in "0.weight 0.bias 1.weight 2.weight 2.bias 3.weight 3.bias 4.g".split()}
BIASES = {"head.bias", "attention_bias", "plain.bias", "norms.0.bias", "norms.2.bias", "norms.3.bias"}


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ([], set()),
        (["norm"], NORMS),
        (["bias"], BIASES),
        (["bias", "norm"], NORMS | BIASES),
        (["embedding"], {"head.weight"}),
    ],
)
def test_decay_leaves_alone_what_the_type_of_a_module_says(kinds: list[str], expected: set[str]) -> None:
    assert without_decay(Tied(), kinds) == expected


def names_of(groups: list[dict[str, Any]], model: nn.Module) -> dict[str, tuple[set[str], float, float]]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        one["name"]: ({names[id(parameter)] for parameter in one["params"]}, one["lr"], one["weight_decay"])
        for one in groups
    }


def test_groups_take_what_they_match_first_and_the_rest_is_one_more() -> None:
    model = Tied()
    config = TrainingConfig(
        learning_rate=0.1,
        weight_decay=0.2,
        param_groups=[
            ParamGroupConfig(match=["head.*", "table.*"], lr_multiplier=0.5, weight_decay=0.3)
            if False
            else ParamGroupConfig(match=["head.*"], lr_multiplier=0.5, weight_decay=0.3),
            ParamGroupConfig(match=["*.bias"], lr_multiplier=3.0),
        ],
    )
    assert names_of(parameter_groups(model, config), model) == {
        "group 0": ({"head.weight"}, 0.05, 0.3),
        "group 0 without decay": ({"head.bias"}, 0.05, 0.0),
        "group 1 without decay": (
            {"plain.bias", "norms.0.bias", "norms.2.bias", "norms.3.bias"},
            pytest.approx(0.3),
            0.0,
        ),
        "others": ({"plain.weight"}, 0.1, 0.2),
        "others without decay": (NORMS - {"norms.0.bias", "norms.2.bias", "norms.3.bias"} | {"attention_bias"}, 0.1, 0),
    }


def test_only_what_is_named_is_trained(tmp_path: Path) -> None:
    trainer, _ = prepared(tmp_path, trained=["4.*"])
    before = weights(trainer.model)
    trainer.train()
    changed = {name for name, value in weights(trainer.model).items() if value != before[name]}
    assert changed == {"4.weight", "4.bias"}
    assert [name for name, one in trainer.model.named_parameters() if one.requires_grad] == ["4.weight", "4.bias"]


@pytest.mark.parametrize(
    ("options", "kind", "expected"),
    [
        ({"optimizer": "AdamW_torch"}, torch.optim.AdamW, {"betas": (0.9, 0.999), "eps": 1e-8}),
        ({"optimizer": "adam", "adam_beta1": 0.8, "adam_epsilon": 1e-6}, torch.optim.Adam, {"betas": (0.8, 0.999)}),
        ({"optimizer": "sgd", "optimizer_kwargs": {"momentum": 0.9}}, torch.optim.SGD, {"momentum": 0.9}),
        ({"optimizer": "rmsprop", "adam_epsilon": 1e-5}, torch.optim.RMSprop, {"eps": 1e-5}),
        ({"optimizer": "adagrad"}, torch.optim.Adagrad, {"lr_decay": 0}),
        ({"optimizer": "adafactor"}, torch.optim.Adafactor, {"beta2_decay": -0.8}),
    ],
)
def test_optimizers_by_name(options: dict[str, Any], kind: type[Any], expected: dict[str, Any]) -> None:
    config = TrainingConfig(**options)
    made = make_optimizer(parameter_groups(nn.Linear(2, 2), config), config)
    assert type(made) is kind
    assert {name: made.param_groups[0][name] for name in expected} == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "adamv"}, r"training.optimizer: unknown optimizer 'adamv'; did you mean 'adam"),
        ({"optimizer": "sgd", "optimizer_kwargs": {"momentun": 1}}, r"optimizer_kwargs.momentun: .*'momentum'"),
        ({"optimizer_kwargs": {"lr": 1.0}}, r"training.optimizer_kwargs: adamw does not take them"),
        ({"optimizer": "sgd", "optimizer_kwargs": {"momentum": -1}}, r"sgd does not take them: .*-1"),
        ({"param_groups": [ParamGroupConfig(match=["wait"])]}, r"param_groups.0.match: no parameter matches 'wait'"),
    ],
)
def test_wrong_optimizers_are_an_error(options: dict[str, Any], message: str) -> None:
    config = TrainingConfig(**options)
    with pytest.raises(ConfigError, match=message):
        make_optimizer(parameter_groups(nn.Linear(2, 2), config), config)


@pytest.mark.parametrize("name", ["optimizer", "match"])
def test_wrong_multipliers_are_an_error(name: str) -> None:
    given: dict[str, Any] = {"match": ["bias"]} | {name: "adamv" if name == "optimizer" else ["biaz"]}
    with pytest.raises(ConfigError, match=f"training.dual.{name}: .*'(adam|bias)"):
        make_dual_optimizer(nn.Linear(2, 2), DualConfig(**given))


# Rate 1; the factor after so many steps, worked out by hand from the formulas that the docstrings cite.
SCHEDULES: list[Any] = [
    pytest.param("constant", {}, 10, {0: 1, 5: 1, 10: 1}, id="constant"),
    pytest.param("constant", {"warmup_steps": 4}, 10, {0: 0, 1: 0.25, 3: 0.75, 4: 1, 10: 1}, id="constant, warm-up"),
    pytest.param("linear", {}, 10, {0: 1, 1: 0.9, 5: 0.5, 10: 0, 12: 0}, id="linear"),
    pytest.param("linear", {"warmup_steps": 2}, 10, {0: 0, 1: 0.5, 2: 1, 6: 0.5, 10: 0}, id="linear, warm-up"),
    pytest.param("linear", {"warmup_ratio": 0.2}, 10, {1: 0.5, 2: 1, 6: 0.5}, id="linear, share of warm-up"),
    pytest.param(
        "linear", {"lr_scheduler_kwargs": {"min_ratio": 0.1}}, 10, {0: 1, 5: 0.55, 10: 0.1}, id="linear, least rate"
    ),
    pytest.param("cosine", {}, 12, {0: 1, 4: 0.75, 6: 0.5, 8: 0.25, 12: 0}, id="cosine"),
    pytest.param("cosine", {"warmup_steps": 2}, 10, {1: 0.5, 2: 1, 6: 0.5, 10: 0}, id="cosine, warm-up"),
    pytest.param(
        "cosine_with_warmup",
        {"lr_scheduler_kwargs": {"min_ratio": 0.5, "num_cycles": 1.0}},
        12,
        {0: 1, 6: 0.5, 12: 1},
        id="cosine, whole wave",
    ),
    pytest.param("inverse_sqrt", {"warmup_steps": 4}, None, {2: 0.5, 4: 1, 16: 0.5, 36: 1 / 3}, id="inverse root"),
    pytest.param(
        "inverse_sqrt", {"lr_scheduler_kwargs": {"timescale": 3}}, None, {0: 1, 9: 0.5, 24: 1 / 3}, id="its timescale"
    ),
    pytest.param("linear_warmup", {"warmup_steps": 4}, None, {0: 0.1, 2: 0.55, 4: 1, 9: 1}, id="LinearLR"),
    pytest.param(
        "one_cycle", {"warmup_steps": 5}, 10, {0: 0.04, 4: 1, 9: 4e-6}, id="one cycle: a 25th, all, a 250,000th"
    ),
    pytest.param("OneCycle", {}, 11, {0: 0.04, 10: 4e-6}, id="another name, another case"),
    pytest.param("cosine_annealing", {}, 12, {0: 1, 4: 0.75, 6: 0.5, 12: 0}, id="CosineAnnealingLR"),
    pytest.param("step", {}, 9, {0: 1, 2: 1, 3: 0.1, 6: 0.01}, id="StepLR"),
    pytest.param("exponential", {"lr_scheduler_kwargs": {"gamma": 0.5}}, None, {0: 1, 3: 0.125}, id="ExponentialLR"),
]


def rates(name: str, options: dict[str, Any], total: int | None, steps: int) -> list[float]:
    config = TrainingConfig(scheduler_type=name, learning_rate=1.0, **options)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make_scheduler(optimizer, config, total)
    assert scheduler is not None
    found = []
    for _ in range(steps):
        found.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize(("name", "options", "total", "expected"), SCHEDULES)
def test_schedules_against_values_worked_out_by_hand(
    name: str, options: dict[str, Any], total: int | None, expected: dict[int, float]
) -> None:
    steps = max(expected) + 1
    found = rates(name, options, total, steps)
    assert {step: found[step] for step in expected} == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("options", "total", "message"),
    [
        ({"scheduler_type": "cosin"}, 5, r"training.scheduler_type: unknown schedule 'cosin'; did you mean 'cosine'"),
        ({"scheduler_type": "cosine"}, None, r"cosine needs training.max_steps or max_epochs"),
        ({"scheduler_type": "one_cycle", "warmup_steps": 1}, 5, r"one_cycle with 1 of 5 steps of warm-up"),
        ({"scheduler_type": "one_cycle", "warmup_steps": 9}, 5, r"one_cycle with 9 of 5 steps of warm-up"),
        ({"lr_scheduler_kwargs": {"min_rati": 1}}, 5, r"training.lr_scheduler_kwargs: .*unexpected keyword"),
    ],
)
def test_wrong_schedules_are_an_error(options: dict[str, Any], total: int | None, message: str) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    with pytest.raises(ConfigError, match=message):
        make_scheduler(optimizer, TrainingConfig(**options), total)


def test_a_schedule_of_none_leaves_the_rate_alone(tmp_path: Path) -> None:
    _, watch = trained(tmp_path, scheduler_type="none", learning_rate=0.25, max_steps=3)
    assert watch.rates == [[0.25]] * 3


@pytest.mark.parametrize("accumulate", [1, 4])
def test_a_schedule_ends_with_the_run(tmp_path: Path, accumulate: int) -> None:
    """Two epochs of 13 batches: 26 steps, or 8."""
    options: dict[str, Any] = {"max_steps": None, "max_epochs": 2, "gradient_accumulation_steps": accumulate}
    _, watch = trained(tmp_path, learning_rate=1e-3, **options)
    steps = 26 if accumulate == 1 else 8
    assert [one[0] for one in watch.rates] == pytest.approx([1e-3 * (1 - step / steps) for step in range(1, steps + 1)])


def test_a_rate_that_changes_after_epochs_goes_through_its_schedule_too(tmp_path: Path) -> None:
    options: dict[str, Any] = {"max_steps": None, "max_epochs": 4, "scheduler_interval": "epoch"}
    _, watch = trained(tmp_path, learning_rate=1.0, optimizer="sgd", max_grad_norm=1e-9, **options)
    by_epoch = [watch.rates[step][0] for step in (0, 12, 13, 25, 26, 38, 39, 51)]
    assert by_epoch == pytest.approx([1, 1, 0.75, 0.75, 0.5, 0.5, 0.25, 0.25])


def test_a_rate_that_moves_in_the_warm_up_only(tmp_path: Path) -> None:
    """Where the warm-up is a share of the run, too."""
    options = {"scheduler_interval": "warmup", "warmup_ratio": 0.4, "scheduler_type": "linear_warmup"}
    _, watch = trained(tmp_path, learning_rate=1e-3, max_steps=10, **options)
    assert [one[0] for one in watch.rates[:5]] == pytest.approx([3.25e-4, 5.5e-4, 7.75e-4, 1e-3, 1e-3])
    assert watch.rates[4:] == [watch.rates[4]] * 6


@pytest.mark.parametrize(("norm", "scope"), [(0.0, ["*"]), (0.1, ["*"]), (0.1, ["4.*"])])
def test_clipping_bounds_the_norm_of_its_scope(tmp_path: Path, norm: float, scope: list[str]) -> None:
    class Spy(Classifier):
        def _on_step_end(self, losses: Any) -> None:
            self.norms = {
                name: float(one.grad.norm()) for name, one in self.model.named_parameters() if one.grad is not None
            }

    trainer, _ = trained(tmp_path, Spy, max_steps=1, max_grad_norm=norm, clip_scope=scope)
    inside = math.hypot(*(value for name, value in trainer.norms.items() if scope == ["*"] or name.startswith("4.")))
    everything = math.hypot(*trainer.norms.values())
    assert (inside <= 0.1 + 1e-6) == (norm > 0)
    assert (everything > 0.1 + 1e-6) == (norm == 0 or scope != ["*"])


def test_a_clip_scope_that_matches_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"training.clip_scope: no parameter matches 'nothing\*'; the parameters are"):
        prepared(tmp_path, clip_scope=["nothing*"])
