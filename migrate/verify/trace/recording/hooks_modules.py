"""Hooks on calls of modules, their modes, and loss functions."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.compiler import is_compiling, is_dynamo_compiling
from torch.nn import functional

from .digests import digest, leaves, number
from .names import NOT_COUNTED, path_of
from .patching import Patches
from .recorder import Recorder
from .scripts import for_scripts

LOSSES = """
    binary_cross_entropy binary_cross_entropy_with_logits cosine_embedding_loss cross_entropy ctc_loss gaussian_nll_loss
    hinge_embedding_loss huber_loss kl_div l1_loss margin_ranking_loss mse_loss multi_margin_loss multilabel_margin_loss
    multilabel_soft_margin_loss nll_loss poisson_nll_loss smooth_l1_loss soft_margin_loss triplet_margin_loss
    triplet_margin_with_distance_loss
""".split()


def install(recorder: Recorder, patches: Patches) -> None:
    """Install the hooks."""
    patches.method(nn.Module, "__call__", partial(_call, recorder))
    patches.method(nn.Module, "train", partial(_train, recorder))
    for name in LOSSES:
        patches.function(functional, name, partial(_loss, recorder, name))


def _call(recorder: Recorder, original: Any) -> Any:
    def __call__(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        # The quicker question of the two, because it is asked for each module.
        if is_dynamo_compiling() or not recorder.active:
            return original(self, *args, **kwargs)
        if "forward" in recorder.inside or "backward" in recorder.inside:
            # What a backward pass calls is computed again for it (checkpointing), and was seen the first time.
            if recorder.deep and recorder.on and "backward" not in recorder.inside:
                return _deep_call(recorder, self, original, args, kwargs)
            return original(self, *args, **kwargs)
        entry = recorder.guarded(recorder.names.entry, self)
        if entry is None or entry == NOT_COUNTED:  # Modules without tensors, such as losses, do not count as called.
            return original(self, *args, **kwargs)
        record = recorder.guarded(recorder.forward, self, entry, torch.is_grad_enabled(), (args, kwargs))
        with recorder.within("forward"):
            if recorder.deep and recorder.on:
                recorder.guarded(_set_paths, recorder, self)
                result = _deep_call(recorder, self, original, args, kwargs)
            else:
                result = original(self, *args, **kwargs)
        if record is not None:
            recorder.guarded(recorder.forward_done, record, result)
        return result

    return __call__


def _set_paths(recorder: Recorder, module: nn.Module) -> None:
    entry = recorder.names.entry(module)
    recorder.paths = {id(below): (entry, path_of(path)) for path, below in module.named_modules()}


def _deep_call(recorder: Recorder, module: nn.Module, original: Any, args: Any, kwargs: Any) -> Any:
    inputs = recorder.guarded(digest, (args, kwargs))
    result = original(module, *args, **kwargs)
    recorder.guarded(_called, recorder, module, inputs, result)
    return result


def _called(recorder: Recorder, module: nn.Module, inputs: str, result: Any) -> None:
    entry, path = recorder.paths.get(id(module), (-1, type(module).__qualname__))
    place = {"entry": entry, "path": path}
    _note(recorder, {**place, "inputs": inputs, "outputs": digest(result)}, result)
    for at, leaf in enumerate(leaves(result)):
        # A parameter that a module returns would keep its hook for all later passes.
        if isinstance(leaf, Tensor) and leaf.grad_fn is not None and torch.is_grad_enabled():
            leaf.register_hook(_gradient(recorder, {**place, "output": at}))  # type: ignore[no-untyped-call]


def _note(recorder: Recorder, call: dict[str, Any], value: Any) -> None:
    """Add a record of a call; its value is saved where it belongs to a step and not to an evaluation."""
    recorder.now["calls"].append(call)
    if recorder.now is recorder.events and recorder.values.wants(recorder.num_steps):
        recorder.output.begin()  # The place of the values depends on the process, as that of the trace does.
        recorder.values.save(len(recorder.events["calls"]) - 1, value)


def _gradient(recorder: Recorder, place: dict[str, Any]) -> Any:
    def hook(gradient: Tensor) -> None:
        recorder.guarded(lambda: _note(recorder, {**place, "gradient": digest(gradient)}, gradient))

    return hook


def _train(recorder: Recorder, original: Any) -> Any:
    def train(self: nn.Module, mode: bool = True) -> Any:
        if is_compiling() or "mode" in recorder.inside or self.training == mode:
            return original(self, mode)
        with recorder.within("mode"):
            result = original(self, mode)
        recorder.guarded(recorder.mode, self, mode)
        return result

    return train


def _loss(recorder: Recorder, name: str, original: Any) -> Any:
    def loss(*args: Any, **kwargs: Any) -> Any:
        if is_compiling() or not recorder.active or "loss" in recorder.inside or "backward" in recorder.inside:
            return original(*args, **kwargs)
        with recorder.within("loss"):
            result = original(*args, **kwargs)
        recorder.guarded(_component, recorder, name, result)
        return result

    return for_scripts(loss, original)


def _component(recorder: Recorder, name: str, value: Any) -> None:
    recorder.fired["loss"] += 1
    if recorder.on and isinstance(value, Tensor):
        recorder.now["components"].append([name, number(value)])
