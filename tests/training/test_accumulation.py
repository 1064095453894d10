"""A step on several micro-batches is the step on all of their samples at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from bem_core.errors import TrainingError
from bem_core.training.base_trainer import BaseTrainer
from bem_core.training.weights import auto_weight, num_samples
from tests.training.trainers import Classifier, dataset, loaders, trained, weights

# Micro-batches with very different numbers of tokens; the one of the fifth has none.
TOKENS = [[5, 7], [1, 2], [7, 7], [1, 1], [0, 0], [2, 6], [1, 3]]


def sequences() -> list[dict[str, Tensor]]:
    """Samples of seven tokens, of which those at the end are padding."""
    generator = torch.Generator().manual_seed(0)
    samples = []
    for count in (count for batch in TOKENS for count in batch):
        ids = torch.randint(1, 11, (7,), generator=generator)
        samples.append({"input_ids": ids, "labels": torch.where(torch.arange(7) < count, ids * 3 % 11, -100)})
    return samples


class Tagger(BaseTrainer):
    """Predicts a label for each token, in float64."""

    def _setup_model(self) -> nn.Module:
        return nn.Sequential(nn.Embedding(11, 8), nn.Linear(8, 11)).double()

    def _forward(self, batch: Any) -> Any:
        return self.wrapped_model(batch["input_ids"])

    def _compute_loss(self, batch: Any, outputs: Any) -> dict[str, Any]:
        loss = functional.cross_entropy(outputs.flatten(0, 1), batch["labels"].flatten())
        return {"loss": loss, "count": (batch["labels"] != -100).sum()}

    def _evaluate(self, dataloader: Any) -> dict[str, float]:
        return {}


def weights_after_an_epoch(folder: Path, batch_size: int, accumulate: int, **more: Any) -> Tensor:
    loader = DataLoader(sequences(), batch_size=batch_size)  # type: ignore[arg-type]
    trainer, _ = trained(
        folder,
        Tagger,
        data=(loader, None),
        max_steps=None,
        max_epochs=1,
        gradient_accumulation_steps=accumulate,
        optimizer="sgd",
        learning_rate=0.5,
        scheduler_type="none",
        max_grad_norm=0,
        save_strategy="no",
        **more,
    )
    return torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()])


@pytest.mark.parametrize("accumulate", [2, 3, 4, 7, 20])
@pytest.mark.parametrize("weight", ["auto", "tokens"])
def test_windows_of_batches_with_other_numbers_of_tokens(tmp_path: Path, accumulate: int, weight: str) -> None:
    """Also in the last window of the epoch, which has fewer; and one micro-batch has no token at all."""
    whole = weights_after_an_epoch(tmp_path / "whole", 2 * accumulate, 1)
    found = weights_after_an_epoch(tmp_path / "parts", 2, accumulate, loss_weight=weight)
    assert float((found - whole).norm() / whole.norm()) < 1e-14


@pytest.mark.parametrize("weight", ["equal", "samples"])
def test_other_weights_are_far_off(tmp_path: Path, weight: str) -> None:
    whole = weights_after_an_epoch(tmp_path / "whole", 4, 1)
    found = weights_after_an_epoch(tmp_path / "parts", 2, 2, loss_weight=weight, max_non_finite_steps=9)
    assert float((found - whole).norm() / whole.norm()) > 1e-2


def test_samples_count_where_there_are_no_labels_of_sequences(tmp_path: Path) -> None:
    """Nine batches of four and one of three; a window of four of them, and a last one of two."""

    class Still(Classifier):
        def _setup_model(self) -> nn.Module:
            model = super()._setup_model()
            model[3] = nn.Identity()  # type: ignore[operator]
            return model.double()

        def _forward(self, batch: Any) -> Any:
            return self.wrapped_model(batch[0].double())

    def run(name: str, batch_size: int, accumulate: int, weight: str) -> Tensor:
        loader = DataLoader(dataset(39), batch_size=batch_size)
        more: dict[str, Any] = {"optimizer": "sgd", "save_strategy": "no", "loss_weight": weight}
        trainer, _ = trained(
            tmp_path / name,
            Still,
            data=(loader, None),
            max_steps=None,
            max_epochs=1,
            gradient_accumulation_steps=accumulate,
            **more,
        )
        return torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()])

    whole = run("whole", 16, 1, "auto")
    assert torch.allclose(run("auto", 4, 4, "auto"), whole, rtol=0, atol=1e-14)
    assert not torch.allclose(run("equal", 4, 4, "equal"), whole, rtol=0, atol=1e-6)


def test_a_component_says_what_its_mean_is_over(tmp_path: Path) -> None:
    """A model that predicts the next token has no prediction for the first label, so that does not count."""

    class Shifted(Tagger):
        def _compute_loss(self, batch: Any, outputs: Any) -> dict[str, Any]:
            labels = batch["labels"][:, 1:].flatten()
            return {"loss": functional.cross_entropy(outputs[:, :-1].flatten(0, 1), labels)}

    class Counted(Shifted):
        def _loss_weight(self, batch: Any) -> float:
            return int((batch["labels"][:, 1:] != -100).sum())

    def run(kind: Any, batch_size: int, accumulate: int) -> Tensor:
        samples = [one for one in sequences() if (one["labels"] != -100).sum() > 1]
        loader = DataLoader(samples, batch_size=batch_size)  # type: ignore[arg-type]
        more: dict[str, Any] = {"optimizer": "sgd", "max_steps": 1, "save_strategy": "no"}
        folder = tmp_path / f"{kind.__name__}{batch_size}"
        trainer, _ = trained(folder, kind, data=(loader, None), gradient_accumulation_steps=accumulate, **more)
        return torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()])

    whole = run(Counted, 9, 1)
    assert torch.allclose(run(Counted, 3, 3), whole, rtol=0, atol=1e-14)
    assert not torch.allclose(run(Shifted, 3, 3), whole, rtol=0, atol=1e-6)


def test_losses_that_are_logged_are_those_of_the_whole_window(tmp_path: Path) -> None:
    def losses(folder: str, batch_size: int, accumulate: int) -> list[float]:
        loader = DataLoader(sequences(), batch_size=batch_size)  # type: ignore[arg-type]
        more: dict[str, Any] = {"max_steps": 2, "save_strategy": "no", "logging_steps": 1}
        _, watch = trained(
            tmp_path / folder, Tagger, data=(loader, None), gradient_accumulation_steps=accumulate, **more
        )
        return watch.losses

    assert losses("parts", 2, 3) == pytest.approx(losses("whole", 6, 1), rel=1e-12)


def test_gradients_do_not_leak_into_the_next_window(tmp_path: Path) -> None:
    """Whatever the place where they are reset."""
    found = [
        weights(trained(tmp_path / place, gradient_accumulation_steps=3, zero_grad=place)[0].model)
        for place in ("before_backward", "before_forward", "after_step")
    ]
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(
    ("batch", "samples", "weight"),
    [
        pytest.param(torch.zeros(3, 2), 3, 3, id="tensor"),
        pytest.param([torch.zeros(3, 2), torch.zeros(3)], 3, 3, id="list"),
        pytest.param({"x": torch.zeros(3, 2), "labels": torch.tensor([1, -100, 2])}, 3, 2, id="labels of classes"),
        pytest.param({"x": torch.zeros(2, 2), "labels": torch.tensor([[1, -100], [3, 4]])}, 2, 3, id="of tokens"),
        pytest.param({"x": torch.zeros(2, 2), "labels": torch.zeros(2, 5)}, 2, 2, id="numbers to predict"),
        pytest.param({"texts": ["a", "b"]}, 2, 2, id="texts"),
        pytest.param({"name": "abc", "scale": torch.tensor(1.0)}, 1, 1, id="nothing with a length"),
    ],
)
def test_what_a_batch_counts(batch: Any, samples: int, weight: int) -> None:
    assert (num_samples(batch), auto_weight(batch)) == (samples, weight)


def test_tokens_need_labels(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"training.loss_weight: tokens needs batches that are mappings"):
        trained(tmp_path, data=loaders(), loss_weight="tokens", gradient_accumulation_steps=2)
