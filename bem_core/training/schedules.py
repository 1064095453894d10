"""Learning rates over a run, as schedulers of torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from bem_core.config.training_config import TrainingConfig
from bem_core.errors import ConfigError, nearest

Shape = Callable[[int], float]


def warmup_steps(config: TrainingConfig, total: int) -> int:
    """Return the steps of the warm-up; ``warmup_ratio`` counts where ``warmup_steps`` is 0."""
    return config.warmup_steps or round((config.warmup_ratio or 0) * total)


def constant(warmup: int, total: int) -> Shape:
    """Rise to 1, then stay there."""
    return lambda step: min(1.0, step / warmup) if warmup else 1.0


def linear(warmup: int, total: int, min_ratio: float = 0.0) -> Shape:
    """Rise to 1, then fall in a line to ``min_ratio`` at the last step."""
    fall, span = 1.0 - min_ratio, max(1, total - warmup)
    return lambda step: step / warmup if step < warmup else 1.0 - fall * min(1.0, (step - warmup) / span)


def cosine(warmup: int, total: int, min_ratio: float = 0.0, num_cycles: float = 0.5) -> Shape:
    """Rise to 1, then fall along a cosine.

    Equation 5 of Loshchilov and Hutter, https://arxiv.org/abs/1608.03983, without restarts.
    """

    def fall(step: int) -> float:
        wave = (1.0 + math.cos(2.0 * math.pi * num_cycles * _progress(step, warmup, total))) / 2.0
        return min_ratio + (1.0 - min_ratio) * wave

    return _rise(warmup, fall)


def inverse_sqrt(warmup: int, total: int, timescale: int | None = None) -> Shape:
    """Rise to 1, then fall as one over the root of the step; Vaswani et al., https://arxiv.org/abs/1706.03762, eq. 3.

    Args:
        warmup: Steps of the rise.
        total: Not used: the shape has no end.
        timescale: Steps after which the fall begins to show; by default the warm-up, or 10,000 without one.
    """
    scale = timescale or warmup or 10_000
    return _rise(warmup, lambda step: math.sqrt(scale / (step - warmup + scale)))


def _rise(warmup: int, after: Shape) -> Shape:
    return lambda step: step / warmup if step < warmup else after(step)


def _progress(step: int, warmup: int, total: int) -> float:
    return min(1.0, (step - warmup) / max(1, total - warmup))


SHAPES: dict[str, Callable[..., Shape]] = {
    "constant": constant,
    "linear": linear,
    "cosine": cosine,
    "inverse_sqrt": inverse_sqrt,
}


def _one_cycle(optimizer: Optimizer, warmup: int, total: int, **kwargs: Any) -> LRScheduler:
    rates = [group["lr"] for group in optimizer.param_groups]
    given: dict[str, Any] = {"max_lr": rates, "total_steps": total} | ({"pct_start": warmup / total} if warmup else {})
    return lr_scheduler.OneCycleLR(optimizer, **given | kwargs)


def _linear_warmup(optimizer: Optimizer, warmup: int, total: int, **kwargs: Any) -> LRScheduler:
    return lr_scheduler.LinearLR(optimizer, **dict[str, Any](start_factor=0.1, total_iters=warmup) | kwargs)


def _cosine_annealing(optimizer: Optimizer, warmup: int, total: int, **kwargs: Any) -> LRScheduler:
    return lr_scheduler.CosineAnnealingLR(optimizer, **dict[str, Any](T_max=total) | kwargs)


def _step(optimizer: Optimizer, warmup: int, total: int, **kwargs: Any) -> LRScheduler:
    return lr_scheduler.StepLR(optimizer, **dict[str, Any](step_size=max(1, total // 3)) | kwargs)


def _exponential(optimizer: Optimizer, warmup: int, total: int, **kwargs: Any) -> LRScheduler:
    return lr_scheduler.ExponentialLR(optimizer, **dict[str, Any](gamma=0.999) | kwargs)


# Schedulers of torch whose own recursion is wanted, to the last bit; a warm-up is part of the first two only.
SCHEDULERS: dict[str, Callable[..., LRScheduler]] = {
    "one_cycle": _one_cycle,
    "linear_warmup": _linear_warmup,
    "cosine_annealing": _cosine_annealing,
    "step": _step,
    "exponential": _exponential,
}
# Names that other libraries and old experiments use.
_ALIASES = {"onecycle": "one_cycle", "constant_with_warmup": "constant", "cosine_with_warmup": "cosine"}


def make_scheduler(optimizer: Optimizer, config: TrainingConfig, total: int | None) -> LRScheduler | None:
    """Return the scheduler of ``training.scheduler_type``; None for ``none``.

    Args:
        optimizer: Its learning rates are the highest ones.
        config: The type, the warm-up and ``lr_scheduler_kwargs``.
        total: Steps of the whole run; None where it has no end that is known.

    Raises:
        ConfigError: The type is unknown, needs a known end, or does not take an argument.
    """
    given = config.scheduler_type.lower()
    name = _ALIASES.get(given, given)
    if name == "none":
        return None
    if name not in SHAPES and name not in SCHEDULERS:
        valid = [*SHAPES, *SCHEDULERS, "none"]
        hint = nearest(given, valid) or f"; there are {', '.join(valid)}"
        raise ConfigError(f"training.scheduler_type: unknown schedule {config.scheduler_type!r}{hint}")
    if total is None and name not in ("constant", "inverse_sqrt", "linear_warmup", "exponential"):
        raise ConfigError(f"training.scheduler_type: {name} needs training.max_steps or max_epochs to know its end")
    end = total or 0
    warmup = warmup_steps(config, end)
    try:
        if name in SHAPES:
            return lr_scheduler.LambdaLR(optimizer, SHAPES[name](warmup, end, **config.lr_scheduler_kwargs))
        return SCHEDULERS[name](optimizer, warmup, end, **config.lr_scheduler_kwargs)
    except (TypeError, ValueError, ZeroDivisionError) as error:
        reason = f"{name} with {warmup} of {end} steps of warm-up"
        raise ConfigError(f"training.lr_scheduler_kwargs: {reason} does not work: {error}") from error
