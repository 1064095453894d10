"""Other precisions, activations that are computed again, compiled models, and numbers that are not finite."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from bem_core.errors import ConfigError
from bem_core.training.guards import NonFiniteError
from bem_core.utils.digest import digest
from tests.training.trainers import CLASSES, FEATURES, Classifier, dataset, loaders, prepared, trained, weights


def hardware(**given: Any) -> dict[str, Any]:
    return {"hardware": given}


class Spy(Classifier):
    """Remembers the types that forward and evaluation ran in."""

    def _compute_loss(self, batch: Any, outputs: Any) -> dict[str, Any]:
        self.dtype = outputs.dtype
        return super()._compute_loss(batch, outputs)

    def _evaluate(self, dataloader: Any) -> dict[str, float]:
        self.eval_dtype = self.model(next(iter(dataloader))[0]).dtype
        return {"loss": 0.0}


@pytest.mark.parametrize(
    ("mode", "dtype"),
    [("no", torch.float32), (False, torch.float32), ("bf16", torch.bfloat16), (True, torch.bfloat16)],
)
def test_forward_and_evaluation_run_in_the_type_that_is_asked_for(tmp_path: Path, mode: Any, dtype: Any) -> None:
    trainer, watch = trained(tmp_path, Spy, sections=hardware(mixed_precision=mode), max_steps=30)
    assert (trainer.dtype, trainer.eval_dtype) == (dtype, dtype)
    assert {parameter.dtype for parameter in trainer.model.parameters()} == {torch.float32}
    assert sum(watch.losses[-10:]) < sum(watch.losses[:10])


class Overflowing(Classifier):
    """A gradient that is infinite at the second try."""

    tries = 0

    def _compute_loss(self, batch: Any, outputs: Any) -> dict[str, Any]:
        self.tries += 1
        if self.tries == 2:
            outputs.register_hook(lambda gradient: gradient * float("inf"))
        return super()._compute_loss(batch, outputs)


def test_float16_leaves_out_a_step_that_overflows(tmp_path: Path) -> None:
    """Neither the step counts nor does the schedule move; the scale is halved."""
    trainer, watch = prepared(tmp_path, Overflowing, sections=hardware(mixed_precision="fp16"), max_steps=3)
    scaler = trainer.precision.scaler
    before = scaler.get_scale()
    done = trainer.train()
    assert watch.stepped == [True, False, True, True]
    assert watch.rates[0] == watch.rates[1] > watch.rates[2]
    assert (done["total_steps"], trainer.progress.skipped, trainer.progress.micro_step) == (3, 1, 4)
    assert scaler.get_scale() == before / 2
    assert all(torch.isfinite(one).all() for one in trainer.model.parameters())


def test_float16_clips_what_is_no_longer_scaled(tmp_path: Path) -> None:
    class Norms(Classifier):
        def _on_step_end(self, losses: Any) -> None:
            grads = [one.grad for one in self.model.parameters() if one.grad is not None]
            self.norm = float(nn.utils.get_total_norm(grads))

    trainer, _ = trained(tmp_path, Norms, sections=hardware(mixed_precision="fp16"), max_steps=1, max_grad_norm=0.01)
    assert trainer.norm == pytest.approx(0.01, rel=1e-3)
    assert trainer.grad_norm.item() < 100


def test_float16_scales_what_multipliers_get_too(tmp_path: Path) -> None:
    class Dual(Classifier):
        def _setup_model(self) -> nn.Module:
            model = super()._setup_model()
            model.multiplier = nn.Parameter(torch.tensor(1.0))
            return model

        def _forward(self, batch: Any) -> Any:
            features = batch[0]
            for layer in list(self.model.children()):
                features = layer(features)
            return features

        def _compute_loss(self, batch: Any, outputs: Any) -> dict[str, Any]:
            return {"loss": super()._compute_loss(batch, outputs)["loss"] + self.model.multiplier * 0.25}

    dual = {"match": ["multiplier"], "learning_rate": 1.0, "low": -100.0}
    trainer, _ = trained(tmp_path, Dual, sections=hardware(mixed_precision="fp16"), max_steps=2, dual=dual)
    assert trainer.model.multiplier.item() == pytest.approx(1.5)


def test_float16_does_not_clip_micro_steps(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"training.clip_interval: micro_step does not work with fp16"):
        prepared(tmp_path, sections=hardware(mixed_precision="fp16"), clip_interval="micro_step")


class Block(nn.Module):
    calls: ClassVar[list[str]] = []

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(FEATURES, FEATURES)
        self.drop = nn.Dropout(0.3)

    def forward(self, features: Tensor) -> Tensor:
        Block.calls.append("training" if self.training else "evaluation")
        out: Tensor = self.drop(torch.tanh(self.inner(features)))
        return out


class Deep(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Block() for _ in range(3)])
        self.head = nn.Linear(FEATURES, CLASSES)

    def forward(self, features: Tensor) -> Tensor:
        for block in self.blocks:
            features = block(features)
        out: Tensor = self.head(features)
        return out


class DeepClassifier(Classifier):
    def _setup_model(self) -> nn.Module:
        Block.calls.clear()
        return Deep()


def test_activations_are_computed_again_with_the_same_result(tmp_path: Path) -> None:
    """With dropout, which has to drop the same in both passes."""
    found = {}
    for again in (False, True):
        sections = hardware(gradient_checkpointing=again)
        trainer, _ = trained(tmp_path / str(again), DeepClassifier, sections=sections, max_steps=5)
        found[again] = weights(trainer.model), Block.calls.count("training"), Block.calls.count("evaluation")
    assert found[True][0] == found[False][0]
    assert (found[False][1], found[True][1]) == (15, 30)
    assert found[False][2] == found[True][2] > 0


def test_a_model_without_layers_says_how_to_name_them(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"hardware.gradient_checkpointing: .*override _checkpointed_modules"):
        prepared(tmp_path, sections=hardware(gradient_checkpointing=True))


@pytest.mark.parametrize("kind", [Classifier, DeepClassifier], ids=["a class of torch", "another class"])
def test_the_model_is_compiled_where_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any
) -> None:
    """With a backend that only counts, since a compiler for C++ is not on each machine."""
    graphs = []

    def counting(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph

    compile_it = torch.compile
    monkeypatch.setattr(torch, "compile", lambda one, *args, **kwargs: compile_it(one, backend=counting))
    plain, _ = trained(tmp_path / "plain", kind, max_steps=3)
    assert not graphs
    compiled, _ = trained(tmp_path / "compiled", kind, sections=hardware(compile_model=True), max_steps=3)
    assert graphs
    assert list(weights(compiled.model)) == list(weights(plain.model))
    torch._dynamo.reset()


def broken(at: int, size: int = 40) -> tuple[Any, Any]:
    """Loaders in order, with a sample that is not a number."""
    features, labels = dataset(size).tensors
    features = features.clone()
    features[at, 2] = float("nan")
    return DataLoader(TensorDataset(features, labels), batch_size=4), loaders()[1]


def test_data_that_are_not_numbers_end_a_run_at_their_step(tmp_path: Path) -> None:
    """The error names step, batch and place; what was saved before is whole."""
    data = broken(at=17)
    trainer, _ = prepared(tmp_path, data=data, save_steps=2)
    with pytest.raises(NonFiniteError) as caught:
        trainer.train()
    batch = list(data[0])[4]
    assert str(caught.value).startswith("step 5: the loss is nan")
    assert f"batch {digest(batch)}; not finite in it: 0" in str(caught.value)
    assert "gradient of 0.weight is not finite" in str(caught.value)
    assert [entry.step for entry in trainer.checkpoints.entries()] == [2, 4]
    assert all(torch.isfinite(one).all() for one in trainer.model.parameters())
    again, _ = prepared(tmp_path, max_steps=6)
    again.resume_from("auto")
    assert again.train()["total_steps"] == 6


def test_steps_that_are_not_finite_can_be_left_out(tmp_path: Path) -> None:
    trainer, watch = trained(tmp_path, data=broken(at=17), max_non_finite_steps=1, max_steps=9, logging_steps=1)
    assert watch.stepped == [True] * 4 + [False] + [True] * 5
    assert (trainer.progress.step, trainer.progress.micro_step) == (9, 10)
    assert all(torch.isfinite(one).all() for one in trainer.model.parameters())
    # Each step has its line, and none of them the loss of the step that was not done.
    text = (tmp_path / "metrics.jsonl").read_text()
    assert text.count('"loss":') == 9
    assert "null" not in text


@pytest.mark.parametrize("precision", ["no", "fp16"])
def test_only_so_many_steps_in_a_row_are_left_out(tmp_path: Path, precision: str) -> None:
    class Always(Classifier):
        def _compute_loss(self, batch: Any, outputs: Any) -> dict[str, Any]:
            factor = float("nan") if self.progress.step == 2 else 1.0
            return {"loss": functional.cross_entropy(outputs, batch[1]) * factor}

    trainer, watch = prepared(
        tmp_path, Always, sections=hardware(mixed_precision=precision), max_steps=9, max_non_finite_steps=3
    )
    with pytest.raises(NonFiniteError, match=r"step 3: the loss is nan.*, after 3 steps that were skipped for it"):
        trainer.train()
    assert watch.stepped == [True, True, False, False, False]


@pytest.mark.parametrize(
    "options", [{"max_grad_norm": 0}, {"clip_scope": ["4.*"]}, {"clip_interval": "micro_step"}, {}], ids=str
)
def test_weights_that_are_not_numbers_are_never_saved(tmp_path: Path, options: dict[str, Any]) -> None:
    """Only a gradient is broken, one that clipping may not look at, and the loss is fine until the next step."""

    class Broken(Classifier):
        def _on_step_end(self, losses: Any) -> None:
            if self.progress.step == 3:
                self.model.get_parameter("0.weight").register_hook(lambda gradient: gradient * float("nan"))

    trainer, _ = prepared(tmp_path, Broken, sections={"output": {"save_total_limit": 1}}, save_steps=1, **options)
    with pytest.raises(NonFiniteError, match=r"0.weight is not finite"):
        trainer.train()
    (entry,) = trainer.checkpoints.entries()
    assert entry.step == 3


def test_only_deterministic_kernels_run_where_that_is_asked_for(tmp_path: Path) -> None:
    prepared(tmp_path, deterministic=True)
    assert torch.are_deterministic_algorithms_enabled()


def test_parameters_that_no_optimizer_has_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Their gradients, which nobody resets, take no part in clipping."""

    class Head(Classifier):
        def _setup_optimizer(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.model.get_submodule("4").parameters(), lr=0.1)

    with caplog.at_level(logging.WARNING):
        trainer, _ = trained(tmp_path, Head, max_steps=4)
    assert "the optimizer does not have 0.weight and 3 more" in caplog.text
    assert trainer.grad_norm.item() == pytest.approx(
        float(nn.utils.get_total_norm([one.grad for one in trainer.model.get_submodule("4").parameters()])), rel=0.2
    )
