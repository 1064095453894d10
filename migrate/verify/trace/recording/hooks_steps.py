"""Hooks on optimizers, schedulers, clipping, backward passes and gradient scalers."""

from __future__ import annotations

import types
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.compiler import is_compiling
from torch.optim import Optimizer, lr_scheduler
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from .digests import number
from .patching import Patches
from .recorder import Recorder
from .waking import awake, end

_EPSILON = 1e-6  # that torch.nn.utils adds to the norm
_MARK = "_bem_migrate_traced"


def install(recorder: Recorder, patches: Patches) -> list[Any]:
    """Install the hooks; returns handles of those that torch itself offers."""
    patches.method(Optimizer, "__init__", partial(_optimizer_init, recorder, patches))
    patches.method(Optimizer, "zero_grad", partial(_zero_grad, recorder))
    patches.method(nn.Module, "zero_grad", partial(_module_zero_grad, recorder))
    patches.method(lr_scheduler.LRScheduler, "__init__", partial(_scheduler_init, recorder, patches))
    patches.function(nn.utils.clip_grad, "clip_grad_norm_", partial(_clip_norm, recorder))
    patches.function(nn.utils.clip_grad, "clip_grad_value_", partial(_clip_value, recorder))
    patches.function(nn.utils, "clip_grads_with_norm_", partial(_clip_with_norm, recorder))
    patches.method(Tensor, "backward", partial(_tensor_backward, recorder))
    patches.function(torch.autograd, "backward", partial(_autograd_backward, recorder))
    patches.function(torch.autograd, "grad", partial(_autograd_grad, recorder))
    for name in ("step", "update", "unscale_"):
        patches.method(GradScaler, name, partial(_scaler, recorder, name))
    return [
        register_optimizer_step_pre_hook(lambda optimizer, args, kwargs: _before_step(recorder, optimizer)),
        register_optimizer_step_post_hook(lambda optimizer, args, kwargs: _after_step(recorder, optimizer)),
    ]


def _before_step(recorder: Recorder, optimizer: Optimizer) -> None:
    if not is_compiling():
        recorder.guarded(recorder.before_step, optimizer)


def _after_step(recorder: Recorder, optimizer: Optimizer) -> None:
    if not is_compiling():
        recorder.guarded(recorder.after_step, optimizer)
        if recorder.over:
            end(recorder)


def _override(patches: Patches, value: Any, name: str, base: type, make: Callable[[Any], Any]) -> None:
    """Replace a method in each class of an object that overrides it, once."""
    for kind in type(value).__mro__:
        method = vars(kind).get(name)
        if issubclass(kind, base) and isinstance(method, types.FunctionType) and not hasattr(method, _MARK):
            patches.method(kind, name, make)
            setattr(vars(kind)[name], _MARK, True)


def _optimizer_init(recorder: Recorder, patches: Patches, original: Any) -> Any:
    def __init__(self: Optimizer, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        awake(recorder)
        _override(patches, self, "zero_grad", Optimizer, partial(_zero_grad, recorder))
        recorder.guarded(recorder.names.optimizer, self)

    return __init__


def _zero_grad(recorder: Recorder, original: Any) -> Any:
    def zero_grad(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        if is_compiling() or "zero_grad" in recorder.inside:
            return original(self, *args, **kwargs)
        recorder.guarded(lambda: recorder.event("zero_grad", f"zero:{recorder.names.optimizer(self)}"))
        with recorder.within("zero_grad"):
            return original(self, *args, **kwargs)

    setattr(zero_grad, _MARK, True)
    return zero_grad


def _module_zero_grad(recorder: Recorder, original: Any) -> Any:
    def zero_grad(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if is_compiling() or "zero_grad" in recorder.inside:
            return original(self, *args, **kwargs)
        recorder.guarded(recorder.event, "zero_grad", "zero")
        with recorder.within("zero_grad"):
            return original(self, *args, **kwargs)

    return zero_grad


def _scheduler_init(recorder: Recorder, patches: Patches, original: Any) -> Any:
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        _wrap_scheduler(recorder, patches, self)
        original(self, *args, **kwargs)

    return __init__


def wrap_known_schedulers(recorder: Recorder, patches: Patches) -> None:
    """Hook the schedulers of torch, of which some do not call the constructor of their base."""
    for value in list(vars(lr_scheduler).values()):
        if isinstance(value, type) and issubclass(value, lr_scheduler.LRScheduler) and "step" in vars(value):
            _wrap_scheduler(recorder, patches, value.__new__(value))


def _wrap_scheduler(recorder: Recorder, patches: Patches, scheduler: Any) -> None:
    _override(patches, scheduler, "step", lr_scheduler.LRScheduler, partial(_scheduler_step, recorder))


def _scheduler_step(recorder: Recorder, original: Any) -> Any:
    def step(self: Any, *args: Any, **kwargs: Any) -> Any:
        if "scheduler" in recorder.inside:
            return original(self, *args, **kwargs)
        first = getattr(self, "_is_initial", False)
        if first:
            recorder.expected.add("scheduler")
        recorder.guarded(_scheduler_event, recorder, self, first)
        with recorder.within("scheduler"):
            return original(self, *args, **kwargs)

    return step


def _scheduler_event(recorder: Recorder, scheduler: Any, first: bool) -> None:
    index = recorder.numbers.of("scheduler", scheduler)
    recorder.event("scheduler_init" if first else "scheduler", f"sched_init:{index}" if first else f"sched:{index}")


def _seen(parameters: Any, seen: list[Any]) -> Any:
    """Return parameters that are noted; a generator stays one, which torch asks for."""
    if isinstance(parameters, Tensor):
        seen.append(parameters)
        return parameters
    seen += parameters
    return (one for one in seen) if isinstance(parameters, types.GeneratorType) else seen


def _counts(parameters: list[Any]) -> dict[str, int]:
    """Count parameters, and those that clipping does something to: others may be given or not."""
    return {"num": len(parameters), "with_gradient": sum([one.grad is not None for one in parameters])}


def _clip_norm(recorder: Recorder, original: Any) -> Any:
    def clip_grad_norm_(parameters: Any, max_norm: float, norm_type: float = 2.0, *args: Any, **kwargs: Any) -> Any:
        if is_compiling() or "clip" in recorder.inside:
            return original(parameters, max_norm, norm_type, *args, **kwargs)
        seen: list[Any] = []
        with recorder.within("clip"):
            norm = original(_seen(parameters, seen), max_norm, norm_type, *args, **kwargs)
        recorder.guarded(_norm_clipped, recorder, norm, max_norm, norm_type, seen)
        return norm

    return clip_grad_norm_


def _clip_with_norm(recorder: Recorder, original: Any) -> Any:
    def clip_grads_with_norm_(parameters: Any, max_norm: float, total_norm: Any, *args: Any, **kwargs: Any) -> Any:
        if is_compiling() or "clip" in recorder.inside:
            return original(parameters, max_norm, total_norm, *args, **kwargs)
        seen: list[Any] = []
        with recorder.within("clip"):
            result = original(_seen(parameters, seen), max_norm, total_norm, *args, **kwargs)
        recorder.guarded(_norm_clipped, recorder, total_norm, max_norm, None, seen)
        return result

    return clip_grads_with_norm_


def _norm_clipped(recorder: Recorder, norm: Any, max_norm: Any, norm_type: Any, seen: list[Any]) -> None:
    if recorder.event("clip", "clip"):
        value, most = float(norm), float(max_norm)
        coefficient = min(1.0, most / (value + _EPSILON)) if value == value else value
        recorder.events["clips"].append(
            {
                "kind": "norm",
                "norm": value.hex(),
                "max_norm": most.hex(),
                "norm_type": None if norm_type is None else float(norm_type).hex(),
                "coefficient": coefficient.hex(),
                "active": not coefficient >= 1,
                **_counts(seen),
            }
        )


def _clip_value(recorder: Recorder, original: Any) -> Any:
    def clip_grad_value_(parameters: Any, clip_value: float, *args: Any, **kwargs: Any) -> Any:
        if is_compiling() or "clip" in recorder.inside:
            return original(parameters, clip_value, *args, **kwargs)
        seen: list[Any] = list([parameters] if isinstance(parameters, Tensor) else parameters)
        largest = recorder.guarded(_largest, seen)
        with recorder.within("clip"):
            original(seen, clip_value, *args, **kwargs)
        recorder.guarded(_value_clipped, recorder, largest, clip_value, seen)

    return clip_grad_value_


def _largest(parameters: list[Tensor]) -> float:
    norms = [float(torch.linalg.vector_norm(p.grad.detach(), float("inf"))) for p in parameters if p.grad is not None]
    return max(norms, default=0.0)


def _value_clipped(recorder: Recorder, largest: float, most: float, seen: list[Any]) -> None:
    if recorder.event("clip", "clip"):
        values = {"norm": largest.hex(), "max_norm": float(most).hex(), "norm_type": float("inf").hex()}
        active = not largest <= most
        recorder.events["clips"].append(
            {"kind": "value", **values, "coefficient": None, "active": active, **_counts(seen)}
        )


def _tensor_backward(recorder: Recorder, original: Any) -> Any:
    def backward(self: Tensor, *args: Any, **kwargs: Any) -> None:
        if is_compiling() or "backward" in recorder.inside:
            return original(self, *args, **kwargs)  # type: ignore[no-any-return]
        recorder.guarded(recorder.backward, [self])
        with recorder.within("backward"):
            return original(self, *args, **kwargs)  # type: ignore[no-any-return]

    return backward


def _autograd_backward(recorder: Recorder, original: Any) -> Any:
    def backward(tensors: Any, *args: Any, **kwargs: Any) -> None:
        if is_compiling() or "backward" in recorder.inside:
            return original(tensors, *args, **kwargs)  # type: ignore[no-any-return]
        tensors = tensors if isinstance(tensors, Tensor) else tuple(tensors)
        recorder.guarded(recorder.backward, [tensors] if isinstance(tensors, Tensor) else tensors)
        with recorder.within("backward"):
            return original(tensors, *args, **kwargs)  # type: ignore[no-any-return]

    return backward


def _autograd_grad(recorder: Recorder, original: Any) -> Any:
    def grad(*args: Any, **kwargs: Any) -> Any:
        if is_compiling() or "backward" in recorder.inside:
            return original(*args, **kwargs)
        recorder.guarded(recorder.event, "grad", "grad")
        with recorder.within("backward"):
            return original(*args, **kwargs)

    return grad


def _scaler(recorder: Recorder, name: str, original: Any) -> Any:
    def method(self: GradScaler, *args: Any, **kwargs: Any) -> Any:
        if not self.is_enabled():
            return original(self, *args, **kwargs)
        recorder.expected.add("scaler")
        before = recorder.fired["step"]
        result = original(self, *args, **kwargs)
        recorder.guarded(_scaled, recorder, self, name, args, recorder.fired["step"] == before)
        return result

    return method


def _scaled(recorder: Recorder, scaler: GradScaler, name: str, args: tuple[Any, ...], no_step: bool) -> None:
    if name == "update":
        phase = "update"
    else:
        phase = f"{'unscale' if name == 'unscale_' else 'skip'}:{recorder.names.optimizer(args[0])}"
    recorder.fired["scaler"] += 1
    if not recorder.on or (name == "step" and not no_step):
        return
    recorder.events["phases"].append(phase)
    if name != "unscale_":
        scale = getattr(scaler, "_scale", None)
        values = {"scale": None if scale is None else number(scale), "growth_tracker": scaler._get_growth_tracker()}
        recorder.events["scaler"].append({"event": name, **values, "skipped": name == "step"})
