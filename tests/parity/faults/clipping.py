"""Faults in clipping; the multimodal trainer clips after each micro-batch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bem_core.training.step import Stepper
from tests.parity.faults.catalogue import Run, fault, main_groups


def clipping(run: Run, clip: Callable[..., Any], **options: Any) -> None:
    """Clip in another way: ``clip`` gets the tensors and the right limit."""

    def instead(original: Any, tensors: Any, limit: float, *args: Any, **kwargs: Any) -> Any:
        if not run.hit:
            return original(tensors, limit, *args, **kwargs)
        run.effect()
        return clip(original, list(tensors), limit)

    around_clipping(run, instead)


def around_clipping(run: Run, wrapper: Callable[..., Any]) -> None:
    """Replace the function of torch, which the trainer asks for when it is set up."""
    run.around(nn.utils, "clip_grad_norm_", wrapper)


@fault("clip", "another limit")
def _(run: Run) -> None:
    clipping(run, lambda clip, tensors, limit: clip(tensors, 2 * limit))


@fault("clip", "a limit that is off by 1e-9")
def _(run: Run) -> None:
    clipping(run, lambda clip, tensors, limit: clip(tensors, limit * (1 + 1e-9)))


@fault("clip", "a limit that is never reached")
def _(run: Run) -> None:
    clipping(run, lambda clip, tensors, limit: clip(tensors, 1e6))


@fault("clip", "another norm")
def _(run: Run) -> None:
    clipping(run, lambda clip, tensors, limit: clip(tensors, limit, norm_type=float("inf")))


@fault("clip", "no clipping")
def _(run: Run) -> None:
    clipping(run, lambda clip, tensors, limit: torch.tensor(0.0))


@fault("clip", "by value instead of norm")
def _(run: Run) -> None:
    def clip(original: Any, tensors: list[Tensor], limit: float) -> Tensor:
        nn.utils.clip_grad_value_(tensors, limit)
        return torch.tensor(0.0)

    clipping(run, clip)


@fault("clip", "each tensor is clipped by itself")
def _(run: Run) -> None:
    def clip(original: Any, tensors: list[Tensor], limit: float) -> Tensor:
        return torch.stack([original([one], limit) for one in tensors if one.grad is not None]).norm()

    clipping(run, clip)


@fault("clip", "a tensor is left out")
def _(run: Run) -> None:
    def clip(original: Any, tensors: list[Tensor], limit: float) -> Any:
        left = next(one for one in tensors if any(one is other for other in run.alive))
        return original([one for one in tensors if one is not left], limit)

    clipping(run, clip)


@fault("clip", "what has another scope is clipped too", ("safety",))
def _(run: Run) -> None:
    def clip(original: Any, tensors: list[Tensor], limit: float) -> Any:
        return original([one for group in main_groups(run) for one in group["params"]], limit)

    clipping(run, clip)


@fault("clip", "multipliers are clipped too", ("safety",))
def _(run: Run) -> None:
    clipping(run, lambda clip, tensors, limit: clip([*tensors, run.trainer.model.multiplier], limit))


@fault("clip", "the window is clipped, not each micro-batch", ("multimodal",))
def _(run: Run) -> None:
    def begin(stepper: Any) -> None:
        run.effect()
        stepper._each = False
        stepper._clip = partial(nn.utils.clip_grad_norm_, stepper._clipped, stepper._max_norm)

    run.before_step(begin, once=True)


@fault("clip", "clipping after the step")
def _(run: Run) -> None:
    late: list[Any] = []

    def instead(original: Any, tensors: Any, limit: float, *args: Any, **kwargs: Any) -> Any:
        if not run.hit:
            return original(tensors, limit, *args, **kwargs)
        run.effect()
        late[:] = [partial(original, tensors, limit)]
        return torch.tensor(0.0)

    def update(step: Callable[[], bool], stepper: Stepper) -> bool:
        done = step()
        for clip in late:
            clip()
        return done

    around_clipping(run, instead)
    run.around_update(update)
