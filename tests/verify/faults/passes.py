"""Faults in the modes of modules, the forward pass, the loss and the backward pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from tests.verify.faults.catalogue import after_evaluation, fault
from tests.verify.toys import Toy


@fault("mode", "the model stays in evaluation mode after evaluating", first=after_evaluation, begins=(2, 8))
def _(base: type[Toy]) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def evaluate(self) -> None:
            super().evaluate()
            if self.hit:
                self.model.eval()

    return Faulty


@fault("mode", "a norm is left in evaluation mode")
def _(base: type[Toy]) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def reset(self) -> None:
            super().reset()
            if self.hit:
                self.model.batch_norm.eval()

    return Faulty


@fault("mode", "dropout is switched off")
def _(base: type[Toy]) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def reset(self) -> None:
            super().reset()
            if self.hit:
                self.model.block.dropout.eval()

    return Faulty


def changed_forward(base: type[Toy], change: Any) -> type[Toy]:
    """Change the model itself when the fault begins."""

    class Faulty(base):  # type: ignore[valid-type, misc]
        def reset(self) -> None:
            super().reset()
            if self.now:
                change(self.model)

    return Faulty


@fault("forward", "GELU by tanh")
def _(base: type[Toy]) -> type[Toy]:
    return changed_forward(base, lambda model: setattr(model.block, "approximate", "tanh"))


@fault("forward", "another epsilon in a norm")
def _(base: type[Toy]) -> type[Toy]:
    return changed_forward(base, lambda model: setattr(model.block.norm, "eps", 1e-6))


@fault("forward", "another probability of dropout")
def _(base: type[Toy]) -> type[Toy]:
    return changed_forward(base, lambda model: setattr(model.block.dropout, "p", 0.25))


def called(base: type[Toy], call: Any) -> type[Toy]:
    """Change what the model returns when it is called."""

    def change(model: Any) -> None:
        model.register_forward_hook(lambda module, args, output: call(module, args, output))

    return changed_forward(base, change)


@fault("forward", "the residual path is scaled")
def _(base: type[Toy]) -> type[Toy]:
    def change(model: Any) -> None:
        model.block.register_forward_hook(lambda module, args, output: output + 0.001 * args[0])

    return changed_forward(base, change)


@fault("forward", "outputs go through bfloat16")
def _(base: type[Toy]) -> type[Toy]:
    return called(base, lambda module, args, output: output.bfloat16().float())


@fault("forward", "logits are divided by a temperature")
def _(base: type[Toy]) -> type[Toy]:
    return called(base, lambda module, args, output: output / 1.01)


@fault("forward", "a layer is called without its bias")
def _(base: type[Toy]) -> type[Toy]:
    def change(model: Any) -> None:
        model.head.register_forward_hook(lambda module, args, output: output - module.bias)

    return changed_forward(base, change)


@fault("forward", "a parameter is changed outside of the optimizer, between steps")
def _(base: type[Toy]) -> type[Toy]:
    return changed_forward(base, lambda model: model.head.weight.data.mul_(1 + 1e-6))


class LossFault(Toy):
    """A training whose loss is changed by ``changed``."""


def changed_loss(base: type[Toy], change: Any) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
            if self.hit and torch.is_grad_enabled():
                return change(super().loss, outputs, labels)
            return super().loss(outputs, labels)

    return Faulty


@fault("loss", "labels are shifted")
def _(base: type[Toy]) -> type[Toy]:
    return changed_loss(base, lambda loss, outputs, labels: loss(outputs, (labels + 1) % 3))


@fault("loss", "label smoothing", ("classifier", "constrained"))
def _(base: type[Toy]) -> type[Toy]:
    return changed_loss(base, lambda loss, o, labels: functional.cross_entropy(o, labels, label_smoothing=0.01))


@fault("loss", "sum instead of mean")
def _(base: type[Toy]) -> type[Toy]:
    return changed_loss(base, lambda loss, outputs, labels: loss(outputs, labels) * len(labels))


@fault("loss", "an auxiliary loss has another weight")
def _(base: type[Toy]) -> type[Toy]:
    return changed_loss(base, lambda loss, outputs, labels: loss(outputs, labels) + 1e-5 * outputs.square().mean())


@fault("loss", "weights of classes", ("classifier", "constrained"), begins=(2, 5))
def _(base: type[Toy]) -> type[Toy]:
    weight = torch.tensor([1.0, 1.05, 1.1])
    return changed_loss(base, lambda loss, outputs, labels: functional.cross_entropy(outputs, labels, weight))


@fault("loss", "accumulation divides by one micro-batch too many", ("classifier",))
def _(base: type[Toy]) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def shared(self, loss: Tensor, batch: Any, window: list[Any]) -> Tensor:
            return loss / (len(window) + 1) if self.hit else super().shared(loss, batch, window)

    return Faulty


def first_partial(clean: Toy, at: int) -> int:
    """The first window from a step on that has fewer micro-batches; an epoch has six."""
    return clean.first_call[-(-at // 6) * 6]


@fault("loss", "a partial window is divided by a full one's number", ("classifier",), first_partial, (2, 11))
def _(base: type[Toy]) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def shared(self, loss: Tensor, batch: Any, window: list[Any]) -> Tensor:
            return loss / self.window if self.hit else super().shared(loss, batch, window)

    return Faulty


@fault("backward", "gradients are not reset")
def _(base: type[Toy]) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def reset(self) -> None:
            if not self.now:
                super().reset()

    return Faulty


@fault("backward", "only the last micro-batch counts", ("classifier",), begins=(2, 5))
def _(base: type[Toy]) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def micro_step(self, batch: Any, window: list[Any], number: int) -> None:
            if self.hit:
                self.optimizer.zero_grad()
            super().micro_step(batch, window, number)

    return Faulty


@fault("backward", "two backward passes")
def _(base: type[Toy]) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def backward(self, loss: Tensor) -> None:
            if self.now:
                loss.backward(retain_graph=True)
            loss.backward()

    return Faulty


def changed_gradients(base: type[Toy], change: Any) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def backward(self, loss: Tensor) -> None:
            super().backward(loss)
            if self.hit:
                change(self.model)

    return Faulty


@fault("backward", "gradients are scaled by 1 + 1e-6")
def _(base: type[Toy]) -> type[Toy]:
    return changed_gradients(base, lambda model: model.head.weight.grad.mul_(1 + 1e-6))


@fault("backward", "a gradient is zero")
def _(base: type[Toy]) -> type[Toy]:
    return changed_gradients(base, lambda model: model.inputs.weight.grad.zero_())


@fault("backward", "a gradient is missing")
def _(base: type[Toy]) -> type[Toy]:
    return changed_gradients(base, lambda model: setattr(model.inputs.bias, "grad", None))


@fault("backward", "two rows of a gradient change places")
def _(base: type[Toy]) -> type[Toy]:
    return changed_gradients(base, lambda model: model.head.weight.grad.copy_(model.head.weight.grad.roll(1, 0)))


@fault("backward", "a path is detached")
def _(base: type[Toy]) -> type[Toy]:
    def change(model: Any) -> None:
        model.block.norm.register_forward_pre_hook(lambda module, args: (args[0].detach(),))

    return changed_forward(base, change)
