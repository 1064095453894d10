"""Puts adapters behind modules of a frozen model, and merges them into its weights."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bem2.perftrack.adapter import Adapter
from bem_core.errors import ConfigError, nearest
from bem_core.evaluation.modes import evaluation_mode


class AdaptedModule(nn.Module):
    """A module and the adapter behind it.

    Args:
        base: Keeps its parameters; they are frozen.
        adapter: Is trained.
    """

    def __init__(self, base: nn.Module, adapter: Adapter) -> None:
        super().__init__()
        self.base, self.adapter = base, adapter

    def forward(self, x_BLI: Tensor) -> Tensor:
        """Return the output of the module with what the adapter adds."""
        return self.adapter(self.base(x_BLI), x_BLI)  # type: ignore[no-any-return]


class TargetError(ConfigError):
    """A pattern of modules that finds none which can be adapted.

    Attributes:
        index: Number of the pattern.
    """

    def __init__(self, index: int, message: str) -> None:
        super().__init__(message)
        self.index = index


def sizes(module: nn.Module) -> tuple[int, int] | None:
    """Return inputs and outputs of a linear layer, also of those of GPT-2 in `transformers`; None for other modules."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    weight = getattr(module, "weight", None)
    if type(module).__name__ == "Conv1D" and isinstance(weight, Tensor):
        return weight.shape[0], weight.shape[1]
    return None


def find_targets(model: nn.Module, patterns: Sequence[str]) -> list[str]:
    """Return the names of the linear layers that patterns name, in the order of the model.

    Args:
        model: The model.
        patterns: As in a shell; ``attention.w_o`` also stands for all names that end in ``.attention.w_o``.

    Raises:
        TargetError: A pattern matches no module, or one that is no linear layer.
    """
    modules = {name: module for name, module in model.named_modules() if name}
    found: set[str] = set()
    for index, pattern in enumerate(patterns):
        matched = [name for name in modules if _matches(name, pattern)]
        if not matched:
            raise TargetError(index, f"no module matches {pattern!r}{_hint(pattern, modules)}")
        for name in matched:
            if sizes(modules[name]) is None:
                kind = type(modules[name]).__name__
                raise TargetError(index, f"{pattern!r} matches {name}, a {kind}; expected linear layers")
        found.update(matched)
    return [name for name in modules if name in found]


def _matches(name: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(name, f"*.{pattern}")


def _hint(pattern: str, modules: dict[str, nn.Module]) -> str:
    """Return the nearest name of a linear layer, with and without what stands before it, or all kinds there are."""
    linear = [name for name, module in modules.items() if sizes(module) is not None]
    short = list(dict.fromkeys(re.split(r"\.\d+\.", name)[-1] for name in linear))
    return nearest(pattern, [*short, *linear]) or f"; there are {', '.join(short) or 'no linear layers'}"


def attach(model: nn.Module, names: Sequence[str], make: Callable[[str, nn.Module], Adapter]) -> list[Adapter]:
    """Freeze a model and put adapters behind some of its modules.

    Args:
        model: Is changed.
        names: Of the modules.
        make: Returns the adapter for a name and its module.
    """
    model.requires_grad_(False)
    made = []
    for name in names:
        base = model.get_submodule(name)
        adapter = make(name, base)
        weight = next(base.parameters())
        _replace(model, name, AdaptedModule(base, adapter.to(weight.device, weight.dtype)))
        made.append(adapter)
    return made


def adapted(model: nn.Module) -> Iterator[tuple[str, AdaptedModule]]:
    """Yield the adapted modules of a model by name."""
    return ((name, module) for name, module in model.named_modules() if isinstance(module, AdaptedModule))


def adapters(model: nn.Module) -> list[Adapter]:
    """Return the adapters of a model in its order."""
    return [module.adapter for _, module in adapted(model)]


@torch.no_grad()
def merge(model: nn.Module) -> nn.Module:
    """Make all adapters part of the weights behind which they stand; the model is then as it was before `attach`.

    Raises:
        MergeError: What an adapter adds depends on the input in another way; nothing is changed.
    """
    found = list(adapted(model))
    with evaluation_mode(model):
        weights = [_merged(module) for _, module in found]
    for (name, module), (weight, bias) in zip(found, weights, strict=True):
        base: Any = module.base
        base.weight.copy_(weight)
        if bias is not None:
            base.bias.copy_(bias)
        _replace(model, name, base)
    return model


def _merged(module: AdaptedModule) -> tuple[Tensor, Tensor | None]:
    base: Any = module.base
    linear = isinstance(base, nn.Linear)
    weight, bias = module.adapter.merged(base.weight if linear else base.weight.t(), base.bias)
    return weight if linear else weight.t(), bias


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
