"""One update of the optimizer, from a window of micro-batches.

The order is fixed: zero the gradients, forward and backward for each micro-batch, undo the scaling of float16, clip,
optimizer, multipliers, schedule. Where the gradients are zeroed and when they are clipped are options.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from bem_core.config.training_config import DualConfig, TrainingConfig
from bem_core.errors import ConfigError
from bem_core.training.guards import FiniteGuard, check_weights
from bem_core.training.optim import select
from bem_core.training.precision import Precision
from bem_core.training.weights import check_losses, detached

Losses = dict[str, Tensor]


class Outcome(NamedTuple):
    """What a step did.

    Attributes:
        losses: The loss and its parts, weighted over the micro-batches of this rank; on the device, without a graph.
        grad_norm: Norm of the gradients before clipping; None where nothing needed it.
        stepped: Whether the parameters were updated.
    """

    losses: Losses
    grad_norm: Tensor | None
    stepped: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a step works on.

    Attributes:
        model: The model, for names and errors.
        forward: A batch to outputs.
        compute_loss: A batch and outputs to ``loss`` and its parts.
        optimizer: Of the parameters.
        scheduler: Of the learning rate; None for a constant one.
        dual: Optimizer of the multipliers; None for none.
        precision: Autocast and scaler.
        guard: Checks what must be finite.
        sync: Given whether a micro-batch is the last one, the context in which gradients are exchanged or not.
        sum: Adds the scalars of all ranks; None for one process. The norm of the gradients is then always computed.
    """

    model: nn.Module
    forward: Callable[[Any], Any]
    compute_loss: Callable[[Any, Any], dict[str, Any]]
    optimizer: Optimizer
    scheduler: LRScheduler | None
    dual: Optimizer | None
    precision: Precision
    guard: FiniteGuard
    sync: Callable[[bool], AbstractContextManager[Any]] | None = None
    sum: Callable[[Tensor], Tensor] | None = None


class Stepper:
    """Does one step after the other.

    Args:
        parts: What it works on.
        config: The options.
        trained: Parameters of the main optimizer by name; ``clip_scope`` chooses among them.
        warmup: Steps after which the learning rate stays, with ``scheduler_interval: warmup``.
    """

    def __init__(self, parts: Parts, config: TrainingConfig, trained: dict[str, nn.Parameter], warmup: int = 0) -> None:
        self._parts = parts
        self._config = config
        self._clipped = [trained[name] for name in select(list(trained), config.clip_scope, "training.clip_scope")]
        self._max_norm = config.max_grad_norm
        self._each = config.clip_interval == "micro_step"
        self._zero_first = config.zero_grad == "before_forward"
        self._zero_last = config.zero_grad == "after_step"
        self._zero_between = config.zero_grad == "before_backward"
        self._moves_until = warmup if config.scheduler_interval == "warmup" else math.inf
        self._by_step = config.scheduler_interval != "epoch"
        self._sharded = any(hasattr(one, "full_tensor") for one in self._clipped)
        self._plain = parts.precision.dtype is None
        self._checked = False
        # Whether the norm tells of each gradient, so that none that is not finite gets into the weights.
        self._norm_tells = parts.precision.scaler is not None or (
            bool(self._max_norm) and len(self._clipped) == len(trained)
        )
        self._micro_norm: Tensor | None = None
        # Where nothing else is to be done, methods of torch take the place of ours: a call costs half a microsecond.
        self._zero_grad = self._zero_both if parts.dual else parts.optimizer.zero_grad
        simple = self._max_norm and not self._each and not self._sharded and parts.precision.scaler is None
        clip = partial(nn.utils.clip_grad_norm_, self._clipped, self._max_norm)
        self._clip: Callable[[], Tensor | None] = clip if simple else self._clip_or_measure
        if self._each and parts.precision.scaler is not None:
            raise ConfigError("training.clip_interval: micro_step does not work with fp16, whose gradients are scaled")

    def run(self, window: Sequence[Any], divisors: Sequence[float] | None, step: int) -> Outcome:
        """Do a step.

        Args:
            window: Its micro-batches, on the device.
            divisors: What their losses are divided by; None for 1.
            step: Number of the steps before it.

        Raises:
            NonFiniteError: The loss or the gradients are not finite.
            TrainingError: The component does not return a loss.
        """
        parts = self._parts
        if self._zero_first:
            self._zero_grad()
        if len(window) == 1 and parts.sync is None:
            losses = self._micro_step(window[0], divisors[0] if divisors else None, True)
        else:
            losses = self._accumulate(window, divisors)
        norm = self._clip()
        # A scaler looks for gradients that are not finite itself, and expects them.
        told = norm if parts.precision.scaler is None else None
        # What is not finite on one rank stops all of them, or none may do the step.
        loss = losses["loss"] if parts.sum is None else parts.sum(losses["loss"].clone())
        if parts.guard.passes(step + 1, loss, told, window, parts.model):
            stepped = self._update(step)
        else:
            stepped = False
            if parts.precision.scaler is not None:
                parts.precision.scaler.update()
        if self._zero_last:
            self._zero_grad()
        return Outcome(losses, norm, stepped)

    def _accumulate(self, window: Sequence[Any], divisors: Sequence[float] | None) -> Losses:
        losses: Losses = {}
        sync, last = self._parts.sync, len(window) - 1
        some = divisors is not None and min(divisors) < math.inf
        for number, batch in enumerate(window):
            divisor = None if divisors is None else divisors[number]
            if divisor == math.inf and some and sync is None:
                # The mean over nothing is not a number, and times zero it still is none.
                continue
            with nullcontext() if sync is None else sync(number == last):
                part = self._micro_step(batch, divisor, not losses)
            losses = _sum(losses, part) if losses else part
        return losses

    def check_finite(self) -> None:
        """Check the steps whose values have not been read yet, and the weights where no norm has told of gradients.

        Raises:
            NonFiniteError: One of them was not finite.
        """
        self._parts.guard.finish(self._parts.model)
        if not self._norm_tells:
            check_weights(self._parts.model)

    def next_epoch(self) -> None:
        """Change the learning rate where that is done once an epoch."""
        if not self._by_step and self._parts.scheduler is not None:
            self._parts.scheduler.step()

    def _micro_step(self, batch: Any, divisor: float | None, first: bool) -> Losses:
        parts = self._parts
        if self._plain:
            found = parts.compute_loss(batch, parts.forward(batch))
        else:
            with parts.precision.autocast():
                found = parts.compute_loss(batch, parts.forward(batch))
        if not self._checked:
            check_losses(found)
            self._checked = True
        if first and self._zero_between:
            self._zero_grad()
        try:
            loss: Tensor = found["loss"] if divisor is None else found["loss"] / divisor
            scaler = parts.precision.scaler
            (loss if scaler is None else scaler.scale(loss)).backward()  # type: ignore[no-untyped-call]
        except (KeyError, RuntimeError, TypeError):
            check_losses(found)
            raise
        if self._each and self._max_norm:
            self._micro_norm = self._whole(nn.utils.clip_grad_norm_(self._clipped, self._max_norm))
        return {"loss": found["loss"].detach()} if divisor is None and len(found) == 1 else detached(found, divisor)

    def _clip_or_measure(self) -> Tensor | None:
        parts = self._parts
        if self._each and self._max_norm:
            return self._micro_norm
        if parts.precision.scaler is not None:
            parts.precision.scaler.unscale_(parts.optimizer)
            if parts.dual is not None and _has_gradients(parts.dual):
                parts.precision.scaler.unscale_(parts.dual)
        if self._max_norm:
            return self._whole(nn.utils.clip_grad_norm_(self._clipped, self._max_norm))
        if parts.sum is not None:
            return self._whole(nn.utils.get_total_norm([one.grad for one in self._clipped if one.grad is not None]))
        return None

    def _whole(self, norm: Tensor) -> Tensor:
        """Return the norm as a plain tensor where sharded parameters gave one that is spread over the ranks."""
        if self._sharded:
            norm = norm.full_tensor()  # type: ignore[attr-defined]
        return norm

    def _update(self, step: int) -> bool:
        parts = self._parts
        scaler = parts.precision.scaler
        if scaler is None:
            parts.optimizer.step()
        else:
            before = scaler.get_scale()
            scaler.step(parts.optimizer)
            scaler.update()
            if scaler.get_scale() < before:
                return False
        if parts.dual is not None and self._config.dual is not None:
            _update_multipliers(parts.dual, self._config.dual, step)
        if self._by_step and step < self._moves_until and parts.scheduler is not None:
            parts.scheduler.step()
        return True

    def _zero_both(self) -> None:
        self._parts.optimizer.zero_grad()
        if self._parts.dual is not None:
            self._parts.dual.zero_grad()


def _update_multipliers(optimizer: Optimizer, config: DualConfig, step: int) -> None:
    """Raise each multiplier by its constraint's violation, and keep it within its bounds."""
    if step < config.start_step:
        return
    optimizer.step()
    with torch.no_grad():
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.clamp_(config.low, config.high)


def _has_gradients(optimizer: Optimizer) -> bool:
    return any(parameter.grad is not None for group in optimizer.param_groups for parameter in group["params"])


def _sum(losses: Losses, part: Losses) -> Losses:
    """Add the losses of a micro-batch to those before it; not each of them must have all parts."""
    return losses | {name: losses[name] + value if name in losses else value for name, value in part.items()}
