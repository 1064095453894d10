"""Losses and gradients that are not finite: found at their step, told with what helps to find the cause."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn

from bem_core.errors import TrainingError
from bem_core.utils.digest import digest


class NonFiniteError(TrainingError):
    """The loss, or the norm of the gradients, is infinite or not a number."""


class FiniteGuard:
    """Checks loss and gradient norm of each step.

    On a CPU the check comes before the update. On CUDA reading a value would make the host wait for the device, so it
    comes one step later, unless steps may be skipped; the error still names the step.

    Args:
        device: Where training runs.
        allowed: Steps in a row that may be skipped; 0 for none.
    """

    def __init__(self, device: torch.device, allowed: int = 0) -> None:
        self._allowed = allowed
        self._late = device.type == "cuda" and not allowed
        self._pending: tuple[int, Tensor, Any, Any] | None = None
        self._in_a_row = 0

    def passes(self, step: int, loss: Tensor, norm: Tensor | None, window: Sequence[Any], model: nn.Module) -> bool:
        """Tell whether the step may be done.

        Args:
            step: Its number, for the error.
            loss: Scalar.
            norm: Norm of the gradients before clipping; None where it is not known.
            window: The micro-batches, for the error.
            model: For the error.

        Raises:
            NonFiniteError: Something is not finite, and no more steps may be skipped.
        """
        if self._late:
            self._check_later(step, loss, norm, window, model)
            return True
        if isfinite(loss.item()) and (norm is None or isfinite(norm.item())):
            self._in_a_row = 0
            return True
        self._in_a_row += 1
        if self._in_a_row <= self._allowed:
            return False
        raise describe(step, loss, norm, window, model, self._allowed)

    def finish(self, model: nn.Module) -> None:
        """Check what has not been checked yet; before anything is saved.

        Raises:
            NonFiniteError: The last step was not finite.
        """
        if self._pending is not None:
            step, flag, event, window = self._pending
            self._pending = None
            event.synchronize()
            if not flag.item():
                raise describe(step, None, None, window, model, self._allowed)

    def _check_later(
        self, step: int, loss: Tensor, norm: Tensor | None, window: Sequence[Any], model: nn.Module
    ) -> None:
        finite = torch.isfinite(loss) if norm is None else torch.isfinite(loss) & torch.isfinite(norm)
        flag = torch.empty((), dtype=torch.bool, pin_memory=True)
        flag.copy_(finite, non_blocking=True)
        event: Any = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()
        self.finish(model)
        self._pending = (step, flag, event, window)


def check_weights(model: nn.Module) -> None:
    """See that all weights are finite.

    Raises:
        NonFiniteError: One is not; names it.
    """
    for name, weight in _named(model).items():
        if not torch.isfinite(weight).all():
            raise NonFiniteError(
                f"parameter {name} is not finite, so nothing is saved; no norm of its gradient was taken"
            )


def describe(
    step: int, loss: Tensor | None, norm: Tensor | None, window: Sequence[Any], model: nn.Module, allowed: int
) -> NonFiniteError:
    """Return the error of a step that is not finite: which batch it was and which parameters it hit."""
    found = []
    if loss is not None and not isfinite(loss.item()):
        found.append(f"the loss is {loss.item()}")
    if norm is not None and not isfinite(norm.item()):
        found.append(f"the norm of the gradients is {norm.item()}")
    lines = [f"step {step}: {' and '.join(found) or 'the loss or the norm of the gradients is not finite'}"]
    if allowed:
        lines[0] += f", after {allowed} steps that were skipped for it"
    lines.append(f"  batch {', '.join(digest(batch) for batch in window)}{_bad_inputs(window)}")
    for what, tensors in (("parameter", _named(model)), ("gradient of", _gradients(model))):
        bad = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
        if bad:
            lines.append(f"  {what} {bad[0]} is not finite{f', and {len(bad) - 1} more' * (len(bad) > 1)}")
    lines.append("  training.max_non_finite_steps skips such steps; the last checkpoint is from before")
    return NonFiniteError("\n".join(lines))


def _named(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def _gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


def _bad_inputs(window: Sequence[Any]) -> str:
    bad = sorted({name for batch in window for name in _not_finite(batch, "")})
    return f"; not finite in it: {', '.join(bad)}" if bad else "; its tensors are finite"


def _not_finite(value: Any, name: str) -> list[str]:
    if isinstance(value, Tensor):
        finite = not (value.is_floating_point() or value.is_complex()) or bool(torch.isfinite(value).all())
        return [] if finite else [name or "the batch"]
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    return [bad for key, below in items for bad in _not_finite(below, f"{name}.{key}" if name else str(key))]
