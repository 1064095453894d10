"""Changes of a training that change nothing, each with the map of names that it needs."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW, Optimizer

from tests.verify.toys import CLASSES, FEATURES, Block, Toy

REFACTORINGS: dict[str, tuple[Callable[[type[Toy]], type[Toy]], dict[str, str]]] = {}


def refactoring(name: str, names: dict[str, str] | None = None) -> Callable[[Any], Any]:
    def add(make: Any) -> Any:
        REFACTORINGS[name] = make, names or {}
        return make

    return add


@refactoring("nothing")
def _(base: type[Toy]) -> type[Toy]:
    return base


@refactoring("gradients are set to zeros")
def _(base: type[Toy]) -> type[Toy]:
    class Other(base):  # type: ignore[valid-type, misc]
        def reset(self) -> None:
            if self.step > 1:
                self.optimizer.zero_grad(set_to_none=False)

    return Other


@refactoring("gradients are reset by the model")
def _(base: type[Toy]) -> type[Toy]:
    class Other(base):  # type: ignore[valid-type, misc]
        def reset(self) -> None:
            self.model.zero_grad()

    return Other


@refactoring("gradients are reset after the step")
def _(base: type[Toy]) -> type[Toy]:
    class Other(base):  # type: ignore[valid-type, misc]
        def reset(self) -> None:
            pass

        def move_schedule(self) -> None:
            self.optimizer.zero_grad()
            super().move_schedule()

    return Other


def with_option(base: type[Toy], **options: Any) -> type[Toy]:
    class Other(base):  # type: ignore[valid-type, misc]
        def make_optimizer(self) -> Optimizer:
            optimizer = super().make_optimizer()
            for group in optimizer.param_groups:
                group.update(options)
            return optimizer

    return Other


@refactoring("the optimizer works on lists of tensors")
def _(base: type[Toy]) -> type[Toy]:
    return with_option(base, foreach=True)


@refactoring("the optimizer works on one tensor at a time")
def _(base: type[Toy]) -> type[Toy]:
    return with_option(base, foreach=False)


class Renamed(nn.Module):
    """The same model with other names of modules, one level deeper."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Linear(FEATURES, 8), nn.BatchNorm1d(8))
        self.body = Block()
        self.classifier = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.body(self.stem(x)))


@refactoring(
    "modules have other names",
    {
        r"inputs\.(.*)": r"stem.0.\1",
        r"batch_norm\.(.*)": r"stem.1.\1",
        r"block\.(.*)": r"body.\1",
        r"head\.(.*)": r"classifier.\1",
    },
)
def _(base: type[Toy]) -> type[Toy]:
    class Other(base):  # type: ignore[valid-type, misc]
        def make_model(self) -> nn.Module:
            return Renamed()

        def state(self) -> dict[str, Any]:
            found = super().state()
            pairs = (("stem.0", "inputs"), ("stem.1", "batch_norm"), ("body", "block"), ("classifier", "head"))
            model = found["model"]
            for new, old in pairs:
                model = {name.replace(new, old, 1) if name.startswith(new) else name: v for name, v in model.items()}
            return found | {"model": model}

    return Other


@refactoring("the learning rate is set by hand")
def _(base: type[Toy]) -> type[Toy]:
    class Other(base):  # type: ignore[valid-type, misc]
        def move_schedule(self) -> None:
            super().move_schedule()

        def make_schedule(self) -> Any:
            toy = self
            for group in toy.optimizer.param_groups:
                group["lr"] = toy.rate * toy.factor(0)

            class ByHand:
                def step(self) -> None:
                    for group in toy.optimizer.param_groups:
                        group["lr"] = toy.rate * toy.factor(toy.step)

                def state_dict(self) -> dict[str, Any]:
                    return {"last_epoch": toy.step}

            return ByHand()

        def state(self) -> dict[str, Any]:
            found = super().state()
            for group in found["optimizer"]["param_groups"]:
                group["initial_lr"] = self.rate
            return found

    return Other


@refactoring("the model gets a keyword")
def _(base: type[Toy]) -> type[Toy]:
    class Other(base):  # type: ignore[valid-type, misc]
        def forward(self, features: Tensor) -> Tensor:
            return self.model(x=features)

    return Other


@refactoring("the loss is a module")
def _(base: type[Toy]) -> type[Toy]:
    class Other(base):  # type: ignore[valid-type, misc]
        def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
            return nn.CrossEntropyLoss()(outputs, labels)

    return Other


@refactoring("the loss is written out")
def _(base: type[Toy]) -> type[Toy]:
    class Other(base):  # type: ignore[valid-type, misc]
        def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
            return functional.nll_loss(functional.log_softmax(outputs, dim=1), labels)

    return Other


@refactoring("a finite loss passes nan_to_num")
def _(base: type[Toy]) -> type[Toy]:
    class Other(base):  # type: ignore[valid-type, misc]
        def shared(self, loss: Tensor, batch: Any, window: list[Any]) -> Tensor:
            return torch.nan_to_num(super().shared(loss, batch, window))

    return Other


@refactoring("backward through torch.autograd")
def _(base: type[Toy]) -> type[Toy]:
    class Other(base):  # type: ignore[valid-type, misc]
        def backward(self, loss: Tensor) -> None:
            torch.autograd.backward([loss])

    return Other


@refactoring("an epoch is loaded at once")
def _(base: type[Toy]) -> type[Toy]:
    class Other(base):  # type: ignore[valid-type, misc]
        def windows(self) -> Iterator[list[Any]]:
            batches = list(self.loader)
            yield from (batches[at : at + self.window] for at in range(0, len(batches), self.window))

    return Other


@refactoring("checkpoints go to memory")
def _(base: type[Toy]) -> type[Toy]:
    class Other(base):  # type: ignore[valid-type, misc]
        def save(self, name: str) -> None:
            torch.save(self.state(), io.BytesIO())

    return Other


@refactoring("evaluation in inference mode")
def _(base: type[Toy]) -> type[Toy]:
    class Other(base):  # type: ignore[valid-type, misc]
        def metric(self) -> float:
            with torch.inference_mode():
                return super().metric()

    return Other


@refactoring("the optimizer is a subclass")
def _(base: type[Toy]) -> type[Toy]:
    class Own(AdamW):
        """One that adds nothing."""

    class Other(base):  # type: ignore[valid-type, misc]
        def make_optimizer(self) -> Optimizer:
            return Own(self.groups(), lr=self.rate)

    return Other


@refactoring("hooks look on, and modes change in between")
def _(base: type[Toy]) -> type[Toy]:
    class Other(base):  # type: ignore[valid-type, misc]
        def make_model(self) -> nn.Module:
            model = super().make_model()
            model.register_forward_hook(lambda module, args, output: None)
            return model

        def after_step(self) -> None:
            self.model.eval()
            self.model.train()
            super().after_step()

    return Other
