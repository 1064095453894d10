"""Faults in clipping, hyper-parameters, optimizers and buffers."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from tests.verify.faults.catalogue import dual_step, fault, first_step
from tests.verify.toys import Toy

BY_NORM = ("classifier", "constrained")


def clipping(base: type[Toy], clip: Any) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def clip(self) -> None:
            if self.hit:
                clip(self)
            else:
                super().clip()

    return Faulty


@fault("clip", "another limit", BY_NORM)
def _(base: type[Toy]) -> type[Toy]:
    return clipping(base, lambda toy: nn.utils.clip_grad_norm_(toy.model.parameters(), 2 * toy.limit))


@fault("clip", "another limit by value", ("regressor",))
def _(base: type[Toy]) -> type[Toy]:
    return clipping(base, lambda toy: nn.utils.clip_grad_value_(toy.model.parameters(), 1.01 * toy.limit))


@fault("clip", "a limit that is never reached", BY_NORM)
def _(base: type[Toy]) -> type[Toy]:
    return clipping(base, lambda toy: nn.utils.clip_grad_norm_(toy.model.parameters(), 1e6))


@fault("clip", "another norm", BY_NORM)
def _(base: type[Toy]) -> type[Toy]:
    return clipping(
        base, lambda toy: nn.utils.clip_grad_norm_(toy.model.parameters(), toy.limit, norm_type=float("inf"))
    )


@fault("clip", "no clipping")
def _(base: type[Toy]) -> type[Toy]:
    return clipping(base, lambda toy: None)


@fault("clip", "a group is left out", ("classifier",))
def _(base: type[Toy]) -> type[Toy]:
    return clipping(base, lambda toy: nn.utils.clip_grad_norm_(toy.optimizer.param_groups[0]["params"], toy.limit))


@fault("clip", "by value instead of norm", BY_NORM)
def _(base: type[Toy]) -> type[Toy]:
    return clipping(base, lambda toy: nn.utils.clip_grad_value_(toy.model.parameters(), toy.limit))


@fault("clip", "multipliers are clipped too", ("constrained",), begins=(5, 11))
def _(base: type[Toy]) -> type[Toy]:
    return clipping(base, lambda toy: nn.utils.clip_grad_norm_(toy.model.parameters(), toy.limit))


@fault("clip", "each micro-batch is clipped", ("classifier",), begins=(2, 5))
def _(base: type[Toy]) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def micro_step(self, batch: Any, window: list[Any], number: int) -> None:
            super().micro_step(batch, window, number)
            if self.hit and number == 0:
                self.clip()

    return Faulty


@fault("clip", "clipping after the step")
def _(base: type[Toy]) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def clip(self) -> None:
            if not self.hit:
                super().clip()

        def take(self, optimizer: Optimizer) -> None:
            super().take(optimizer)
            if self.hit and optimizer is self.optimizer:
                super().clip()

    return Faulty


def changed_group(base: type[Toy], change: Any, dual: bool = False) -> type[Toy]:
    """Change the first group of an optimizer right before its step."""

    class Faulty(base):  # type: ignore[valid-type, misc]
        def take(self, optimizer: Optimizer) -> None:
            if self.hit and (optimizer is self.optimizer) != dual:
                change(optimizer.param_groups[0])
            super().take(optimizer)

    return Faulty


def times(key: str, factor: float) -> Any:
    def change(group: dict[str, Any]) -> None:
        group[key] = group[key] * factor

    return change


@fault("hyper", "learning rate times 1 + 1e-12")
def _(base: type[Toy]) -> type[Toy]:
    return changed_group(base, times("lr", 1 + 1e-12))


@fault("hyper", "weight decay 0.0100001")
def _(base: type[Toy]) -> type[Toy]:
    return changed_group(base, lambda group: group.update(weight_decay=0.0100001))


@fault("hyper", "another epsilon", BY_NORM)
def _(base: type[Toy]) -> type[Toy]:
    return changed_group(base, lambda group: group.update(eps=1e-7))


@fault("hyper", "another beta", BY_NORM)
def _(base: type[Toy]) -> type[Toy]:
    return changed_group(base, lambda group: group.update(betas=(0.9, 0.9990001)))


@fault("hyper", "no Nesterov momentum", ("regressor",))
def _(base: type[Toy]) -> type[Toy]:
    return changed_group(base, lambda group: group.update(nesterov=False))


@fault("hyper", "another momentum", ("regressor",))
def _(base: type[Toy]) -> type[Toy]:
    return changed_group(base, times("momentum", 1.0001))


@fault("hyper", "coupled instead of decoupled weight decay", BY_NORM)
def _(base: type[Toy]) -> type[Toy]:
    return changed_group(base, lambda group: group.update(decoupled_weight_decay=False))


@fault("hyper", "a multiplier on one group")
def _(base: type[Toy]) -> type[Toy]:
    return changed_group(base, times("lr", 0.5))


@fault("hyper", "the sign of the step", ("regressor",))
def _(base: type[Toy]) -> type[Toy]:
    return changed_group(base, lambda group: group.update(maximize=True))


@fault("hyper", "the schedule moves twice", begins=(2, 9))
def _(base: type[Toy]) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def reset(self) -> None:
            super().reset()
            if self.now:
                for _ in range(3):
                    self.schedule.step()

    return Faulty


@fault("hyper", "the schedule moves before the step", ("classifier", "constrained"))
def _(base: type[Toy]) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def clip(self) -> None:
            super().clip()
            if self.hit:
                self.schedule.step()

        def move_schedule(self) -> None:
            if not self.hit:
                super().move_schedule()

    return Faulty


@fault("hyper", "the schedule moves with micro-batches", ("classifier",), begins=(2, 5))
def _(base: type[Toy]) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def micro_step(self, batch: Any, window: list[Any], number: int) -> None:
            super().micro_step(batch, window, number)
            if self.hit and number == 0:
                self.schedule.step()

    return Faulty


@fault("hyper", "a longer warm-up", ("classifier", "constrained"), first_step)
def _(base: type[Toy]) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def factor(self, step: int) -> float:
            return (step + 1) / 4 if step < 3 else super().factor(step)

    return Faulty


@fault("hyper", "another rate of the multipliers", ("constrained",), dual_step, (5, 11))
def _(base: type[Toy]) -> type[Toy]:
    return changed_group(base, times("lr", 1.001), dual=True)


@fault("update", "the state of the optimizer is lost")
def _(base: type[Toy]) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def clip(self) -> None:
            super().clip()
            if self.now:
                self.optimizer.state.clear()

    return Faulty


@fault("update", "a moment is kept in half precision", BY_NORM)
def _(base: type[Toy]) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def clip(self) -> None:
            super().clip()
            if self.hit:
                for state in self.optimizer.state.values():
                    state["exp_avg"].copy_(state["exp_avg"].half())

    return Faulty


@fault("update", "weights are averaged with those before the step", first=lambda clean, at: clean.first_call[at])
def _(base: type[Toy]) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def prepare_run(self) -> None:
            super().prepare_run()
            weight = self.model.head.weight

            def average(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
                if self.hit:
                    weight.data.lerp_(self.before, 0.01)

            self.optimizer.register_step_post_hook(average)

        def clip(self) -> None:
            super().clip()
            self.before = self.model.head.weight.detach().clone()

    return Faulty


@fault("update", "a step is left out", begins=(2, 3))
def _(base: type[Toy]) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def take(self, optimizer: Optimizer) -> None:
            if not (self.now and optimizer is self.optimizer):
                super().take(optimizer)

    return Faulty


@fault("update", "multipliers rise before the model's step", ("constrained",), begins=(5, 11))
def _(base: type[Toy]) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def clip(self) -> None:
            super().clip()
            if self.hit:
                super().ascend()

        def ascend(self) -> None:
            if not self.hit:
                super().ascend()

    return Faulty


@fault("update", "multipliers begin to rise one step early", ("constrained",), lambda clean, at: 4, (4, 4))
def _(base: type[Toy]) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        dual_start = 3

    return Faulty


@fault("backward", "the sign of the violations", ("constrained",), dual_step, (5, 11))
def _(base: type[Toy]) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def ascend(self) -> None:
            if self.hit:
                self.found = -self.found
            super().ascend()

    return Faulty


@fault("buffers", "another momentum of running statistics")
def _(base: type[Toy]) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def reset(self) -> None:
            super().reset()
            if self.hit:
                self.model.batch_norm.momentum = 0.11

    return Faulty


@fault("buffers", "running statistics are reset")
def _(base: type[Toy]) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def reset(self) -> None:
            super().reset()
            if self.now:
                self.model.batch_norm.reset_running_stats()

    return Faulty


@fault("buffers", "running statistics are not updated")
def _(base: type[Toy]) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def forward(self, features: torch.Tensor) -> torch.Tensor:
            norm = self.model.batch_norm
            norm.track_running_stats = not self.hit
            return super().forward(features)

        def evaluate(self) -> None:
            self.model.batch_norm.track_running_stats = True
            super().evaluate()

    return Faulty
