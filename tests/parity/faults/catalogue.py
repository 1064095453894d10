"""How faults of the project's trainings are written down, and what they can see of the run that they are put into."""

from __future__ import annotations

import dataclasses
import functools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bem_core.training.base_trainer import BaseTrainer
from bem_core.training.step import Stepper
from migrate.verify.trace.reader import Trace

PT = ("pt1", "pt2", "pt3", "pt4")
LOADERS = ("router_bc", "safety", *PT)
EPOCHS = ("router_bc", "router_pg", "safety")
EVALUATED = ("router_bc", "safety", "multimodal", *PT)
SCHEDULED = ("router_bc", "multimodal", *PT)
_LOSSES = {name: getattr(functional, name) for name in ("binary_cross_entropy", "cross_entropy", "mse_loss")}
ALL = ("router_bc", "router_pg", "safety", "multimodal", *PT)
RESUMED = ("router_bc_resumed", "safety_resumed", "multimodal_resumed", "pt4_resumed")


@dataclass
class Run:
    """A run of our trainer that a fault is put into.

    A fault says itself, by `effect`, where it first made a value another one than the right one: it computes both. That
    is the step at which it must be found, and a fault that never says it has changed nothing.

    Attributes:
        training: Name of the training.
        at: The step of the trainer, from 1, from which the fault is there.
        chance: Chooses modules and tensors.
        reference: What the old trainer did.
        step: Step of the trainer that goes on, or was the last.
        calls: Steps of all optimizers so far.
        evaluating: Whether an evaluation goes on.
        trainer: Once it is set up.
        first: Number of the step of an optimizer, of all together, at which a channel can differ first.
        phase: Where it can, if that depends on the step.
    """

    training: str
    at: int
    chance: random.Random
    reference: Trace
    step: int = 0
    calls: int = 0
    evaluating: bool = False
    trainer: Any = None
    first: int | None = None
    phase: str | None = None
    alive: list[Tensor] = field(default_factory=list)

    @property
    def hit(self) -> bool:
        """Whether the fault is there in this step."""
        return self.step >= self.at

    @property
    def now(self) -> bool:
        """Whether it begins in this step."""
        return self.step == self.at

    @property
    def training_now(self) -> bool:
        """Whether the fault is there, and a step of training goes on."""
        return self.hit and not self.evaluating and torch.is_grad_enabled()

    @property
    def next_hit(self) -> bool:
        """Whether the fault is there in the step that comes next."""
        return self.step + 1 >= self.at and not self.evaluating

    @property
    def left(self) -> int:
        """Steps of optimizers that are still to come."""
        return len(self.reference.steps) - self.calls

    def effect(self, step: int | None = None, phase: str | None = None) -> None:
        """Say that something is not what it should be: in the step that goes on or comes next, if no other is named."""
        if self.first is None:
            self.first = self.calls + 1 if step is None else step
            self.phase = phase

    def after_step(self, phase: str | None = None) -> None:
        """Say that something is not what it should be after the steps so far."""
        self.effect(self.calls, phase)

    def instead(self, right: Any, wrong: Any) -> Any:
        """Return what is wrong, and say so if it is not the same."""
        if not same(right, wrong):
            self.effect()
        return wrong

    def around(self, owner: Any, name: str, wrapper: Callable[..., Any]) -> None:
        """Replace a function: ``wrapper`` gets the original one and its arguments."""
        original = getattr(owner, name)

        @functools.wraps(original)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            return wrapper(original, *args, **kwargs)

        setattr(owner, name, wrapped)

    def before_training(self, change: Callable[[Any], None]) -> None:
        """Change the trainer when it is set up and about to begin, or to go on from a checkpoint."""

        def train(original: Any, trainer: Any) -> Any:
            if not trainer._ready:
                trainer.setup_training()
            change(trainer)
            return original(trainer)

        self.around(BaseTrainer, "train", train)

    def before_step(self, change: Callable[[Stepper], None], once: bool = False) -> None:
        """Change something before each step in which the fault is there, or before the first."""

        def run(original: Any, stepper: Stepper, *args: Any) -> Any:
            if self.now if once else self.hit:
                change(stepper)
            return original(stepper, *args)

        self.around(Stepper, "run", run)

    def around_update(self, change: Callable[[Callable[[], bool], Stepper], bool]) -> None:
        """Replace what updates the parameters, multipliers and schedule in the steps in which the fault is there."""

        def update(original: Any, stepper: Stepper, step: int) -> bool:
            return change(lambda: original(stepper, step), stepper) if self.hit else original(stepper, step)

        self.around(Stepper, "_update", update)

    def outputs_of(
        self, kind: type[nn.Module] | tuple[type[nn.Module], ...], change: Callable[..., Any], **only: Any
    ) -> None:
        """Replace what a module of a kind gives in training; ``change`` gets the module, its arguments and its output.

        Args:
            kind: Class of the module; one of those that get a gradient is chosen.
            change: Returns the wrong output.
            **only: Attributes that it must have, not None.
        """

        def begin(stepper: Stepper) -> None:
            found = [
                one for one in trained_modules(self, kind) if all(getattr(one, name, None) is not None for name in only)
            ]
            if not found:
                return
            module = self.chance.choice(found)

            def hook(module: nn.Module, args: Any, output: Any) -> Any:
                if not self.training_now:
                    return output
                wrong = change(module, args, output)
                return self.instead(output, wrong)

            module.register_forward_hook(hook)

        self.before_step(begin, once=True)

    def around_loss(self, compute: Callable[[Callable[[Any, Any], dict[str, Any]], Any, Any], dict[str, Any]]) -> None:
        """Replace what computes the loss of a batch and outputs in the steps in which the fault is there."""

        def init(original: Any, stepper: Stepper, parts: Any, *args: Any) -> None:
            right = parts.compute_loss

            def either(batch: Any, outputs: Any) -> dict[str, Any]:
                return compute(right, batch, outputs) if self.hit else right(batch, outputs)

            original(stepper, dataclasses.replace(parts, compute_loss=either), *args)

        self.around(Stepper, "__init__", init)

    def changed_loss(self, change: Callable[[Any, Any, Any, dict[str, Any]], Tensor]) -> None:
        """Replace the loss; ``change`` gets the trainer, the batch, the outputs and the right losses."""

        def compute(right: Any, batch: Any, outputs: Any) -> dict[str, Any]:
            found: dict[str, Any] = right(batch, outputs)
            return found | {"loss": self.instead(found["loss"], change(self.trainer, batch, outputs, found))}

        self.around_loss(compute)

    def changed_batch(self, change: Callable[[Any], Any]) -> None:
        """Compute the loss with another batch than the outputs."""
        self.around_loss(lambda right, batch, outputs: right(change(batch), outputs))

    def changed_gradients(self, change: Callable[[Tensor], Any]) -> None:
        """Change one gradient after each backward pass; ``change`` gets the tensor that has it."""

        def backward(original: Any, loss: Tensor, *args: Any, **kwargs: Any) -> None:
            original(loss, *args, **kwargs)
            if not self.hit:
                return
            tensors = [one for one in self.alive if one.grad is not None and one.grad.numel() > 1 and one.grad.any()]
            if tensors:
                tensor = tensors[len(tensors) // 2]
                before = tensor.grad.clone()  # type: ignore[union-attr]
                change(tensor)
                self.instead(before, tensor.grad)

        self.around(Tensor, "backward", backward)


Put = Callable[[Run], None]


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        name: What is wrong.
        phase: Where it first shows, by training where that differs.
        trainings: Those that it can be in.
        put: Puts it into a run.
        begins: Least step at which it may begin, and how many of the last steps it may not begin in.
    """

    name: str
    phase: str | dict[str, str]
    trainings: tuple[str, ...]
    put: Put
    begins: tuple[int, int] = (2, 2)

    def phase_in(self, training: str) -> str:
        """Return where it first shows in a training."""
        return self.phase if isinstance(self.phase, str) else self.phase[training]


FAULTS: list[Fault] = []


def fault(
    phase: str | dict[str, str], name: str, trainings: Sequence[str] = ALL, begins: tuple[int, int] = (2, 2)
) -> Callable[[Put], Put]:
    """Put a fault into the catalogue."""

    def add(put: Put) -> Put:
        assert name not in {one.name for one in FAULTS}, name
        FAULTS.append(Fault(name, phase, tuple(trainings), put, begins))
        return put

    return add


def same(one: Any, other: Any) -> bool:
    """Tell whether two values are the same, bit for bit."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        if (one.shape, one.dtype) != (other.shape, other.dtype):
            return False
        pair = [value.detach().cpu().contiguous().numpy().tobytes() for value in (one, other)]
        return pair[0] == pair[1]
    if isinstance(one, tuple | list) and isinstance(other, tuple | list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return bool(one == other)


def trained_modules(run: Run, kind: Any) -> list[nn.Module]:
    """Return the modules of a kind that have a tensor with a gradient in themselves or near them."""
    alive = {id(one) for one in run.alive}
    found = []
    for module in run.trainer.model.modules():
        children = list(module.modules())
        for child in module.children():
            if isinstance(child, kind) and any(id(one) in alive for part in children for one in part.parameters()):
                found.append(child)
    return found


def unseen(function: Callable[..., Any], *args: Any) -> Any:
    """Compute something with the loss functions of torch as they are when nobody records them."""
    recorded = {name: getattr(functional, name) for name in _LOSSES}
    for name, plain in _LOSSES.items():
        setattr(functional, name, plain)
    try:
        return function(*args)
    finally:
        for name, one in recorded.items():
            setattr(functional, name, one)


def main_groups(run: Run) -> list[dict[str, Any]]:
    """Return the groups of the optimizer of the weights."""
    groups: list[dict[str, Any]] = run.trainer.optimizer.param_groups
    return groups


def other_result(owner: Any, name: str, change: Callable[..., Any]) -> Callable[[Run], None]:
    """Replace what a function returns in training; ``change`` gets the right result and the arguments."""

    def put(run: Run) -> None:
        def wrapper(original: Any, *args: Any, **kwargs: Any) -> Any:
            right = original(*args, **kwargs)
            return run.instead(right, change(right, *args, **kwargs)) if run.training_now else right

        run.around(owner, name, wrapper)

    return put
