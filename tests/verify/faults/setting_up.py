"""Faults in what a run begins with, in its data and in its random numbers."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from tests.verify.faults.catalogue import evaluation, fault, first_step, start
from tests.verify.toys import Toy, samples


def changed_model(base: type[Toy], change: Any) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def make_model(self) -> nn.Module:
            model = super().make_model()
            with torch.no_grad():
                change(model)
            return model

    return Faulty


@fault("setup", "one weight is one ULP off", first=start)
def _(base: type[Toy]) -> type[Toy]:
    def change(model: Any) -> None:
        weight = model.head.weight.data
        weight[0, 0] = torch.nextafter(weight[0, 0], torch.tensor(9.0))

    return changed_model(base, change)


@fault("buffers", "a running mean does not begin at zero", first=first_step)
def _(base: type[Toy]) -> type[Toy]:
    return changed_model(base, lambda model: model.batch_norm.running_mean.add_(1e-3))


@fault("setup", "another initialisation of one layer", first=start)
def _(base: type[Toy]) -> type[Toy]:
    return changed_model(base, lambda model: nn.init.zeros_(model.head.bias))


@fault("setup", "two layers share their weight", first=start)
def _(base: type[Toy]) -> type[Toy]:
    def tie(model: Any) -> None:
        model.block.linear.bias = model.inputs.bias

    return changed_model(base, tie)


@fault("setup", "a parameter is not in the optimizer", first=start)
def _(base: type[Toy]) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def groups(self) -> list[dict[str, Any]]:
            first, *rest = super().groups()
            return [{**first, "params": first["params"][1:]}, *rest]

    return Faulty


@fault("setup", "two parameters of a group change places", first=first_step)
def _(base: type[Toy]) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def groups(self) -> list[dict[str, Any]]:
            first, *rest = super().groups()
            one, two, *more = first["params"]
            return [{**first, "params": [two, one, *more]}, *rest]

    return Faulty


@fault("setup", "norms and biases are decayed", ("classifier", "regressor"), first_step)
def _(base: type[Toy]) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def groups(self) -> list[dict[str, Any]]:
            return [{"params": list(self.model.parameters()), "weight_decay": self.decay}]

    return Faulty


class Windows:
    """A loop whose windows are changed by ``changed``."""

    def windows(self) -> Iterator[list[Any]]:
        number = self.step  # type: ignore[attr-defined]
        for window in super().windows():  # type: ignore[misc]
            number += 1
            yield self.changed(window) if number >= self.at else window  # type: ignore[attr-defined]


@fault("data", "micro-batches of a window change places", ("classifier",), begins=(2, 5))
def _(base: type[Toy]) -> type[Toy]:
    class Faulty(Windows, base):  # type: ignore[valid-type, misc]
        def changed(self, window: list[Any]) -> list[Any]:
            return window[::-1]

    return Faulty


@fault("data", "samples of a batch in another order")
def _(base: type[Toy]) -> type[Toy]:
    class Faulty(Windows, base):  # type: ignore[valid-type, misc]
        def changed(self, window: list[Any]) -> list[Any]:
            return [[part.flip(0) for part in batch] for batch in window]

    return Faulty


@fault("data", "a batch is skipped", begins=(2, 4))
def _(base: type[Toy]) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def windows(self) -> Iterator[list[Any]]:
            number, left = self.step, [True]
            batches = iter(self.loader)
            while window := [batch for _, batch in zip(range(self.window), batches, strict=False)]:
                number += 1
                if number == self.at and left.pop():
                    window = [next(batches), *window[1:]]
                yield window

    return Faulty


@fault("data", "the last partial batch is dropped", ("regressor", "constrained"), begins=(11, 11))
def _(base: type[Toy]) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def make_loaders(self) -> tuple[Any, Any]:
            return DataLoader(samples(42, 0), batch_size=4, shuffle=True, drop_last=True), super().make_loaders()[1]

    return Faulty


@fault("data", "labels are those of another data set", first=first_step, begins=(1, 1))
def _(base: type[Toy]) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def make_loaders(self) -> tuple[Any, Any]:
            features, labels = samples(42, 0).tensors
            changed = TensorDataset(features, (labels + 1) % 3)
            return DataLoader(changed, batch_size=4, shuffle=True), super().make_loaders()[1]

    return Faulty


@fault("data", "features are scaled otherwise")
def _(base: type[Toy]) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def augment(self, batch: Any) -> Any:
            features, labels = super().augment(batch)
            return (features * 1.0001 if self.hit else features), labels

    return Faulty


@fault("data", "an augmentation is left out, its draws are not")
def _(base: type[Toy]) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def augment(self, batch: Any) -> Any:
            changed = super().augment(batch)
            return batch if self.hit else changed

    return Faulty


def drawing(base: type[Toy], draw: Any) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def reset(self) -> None:
            super().reset()
            if self.now:
                draw()

    return Faulty


@fault("rng", "a stray draw of torch")
def _(base: type[Toy]) -> type[Toy]:
    return drawing(base, lambda: torch.rand(1))


@fault("rng", "a stray draw of NumPy")
def _(base: type[Toy]) -> type[Toy]:
    return drawing(base, lambda: np.random.rand())


@fault("rng", "a stray draw of Python")
def _(base: type[Toy]) -> type[Toy]:
    return drawing(base, random.random)


@fault("rng", "the seed is set again")
def _(base: type[Toy]) -> type[Toy]:
    return drawing(base, lambda: torch.manual_seed(3))


@fault("rng", "dropout is drawn twice")
def _(base: type[Toy]) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def forward(self, features: Any) -> Any:
            outputs = super().forward(features)
            return torch.nn.functional.dropout(outputs, 0.1) if self.hit else outputs

    return Faulty


@fault("rng", "the evaluation draws random numbers", first=evaluation, begins=(2, 8))
def _(base: type[Toy]) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def metric(self) -> float:
            if self.hit:
                torch.rand(1)
            return super().metric()

    return Faulty


@fault("rng", "another seed of NumPy", first=first_step)
def _(base: type[Toy]) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def seed(self) -> None:
            super().seed()
            np.random.seed(4)

    return Faulty
