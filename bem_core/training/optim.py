"""Which parameters are trained, in which groups, by which optimizer."""

from __future__ import annotations

import fnmatch
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from bem_core.config.training_config import DualConfig, TrainingConfig
from bem_core.errors import ConfigError, nearest

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
    "sgd": torch.optim.SGD,
    "adagrad": torch.optim.Adagrad,
    "rmsprop": torch.optim.RMSprop,
    "adafactor": torch.optim.Adafactor,
}
# Names that other libraries have for them.
_ALIASES = {"adamw_torch": "adamw"}
_NORMS = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.modules.batchnorm._NormBase, nn.LocalResponseNorm)


def select(names: Sequence[str], patterns: Iterable[str], key: str) -> list[str]:
    """Return the names that match one of the patterns, in their order.

    Args:
        names: Names of parameters.
        patterns: As in a shell: ``*`` stands for anything, dots too.
        key: Dotted key of the patterns, for the error.

    Raises:
        ConfigError: A pattern matches no name.
    """
    found: set[str] = set()
    for pattern in patterns:
        matched = fnmatch.filter(names, pattern)
        if not matched:
            hint = nearest(pattern, names) or f"; the parameters are {', '.join(names[:5])}{' ...' * (len(names) > 5)}"
            raise ConfigError(f"{key}: no parameter matches {pattern!r}{hint}")
        found.update(matched)
    return [name for name in names if name in found]


def freeze(model: nn.Module, config: TrainingConfig) -> None:
    """Let only the parameters require gradients that ``training.trained`` or ``training.dual`` names.

    What did not require gradients before stays frozen.
    """
    names = [name for name, _ in model.named_parameters()]
    kept = set(select(names, config.trained, "training.trained"))
    if config.dual:
        kept.update(select(names, config.dual.match, "training.dual.match"))
    for name, parameter in model.named_parameters():
        if name not in kept:
            parameter.requires_grad_(False)


def trained_parameters(model: nn.Module, dual: DualConfig | None = None) -> dict[str, nn.Parameter]:
    """Return the parameters that the main optimizer trains, by name: all that require gradients and are not dual."""
    named = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    for name in dual_names(named, dual):
        del named[name]
    if not named:
        raise ConfigError(
            "training.trained: no parameter of the model requires a gradient, so there is nothing to train"
        )
    return named


def dual_names(named: dict[str, nn.Parameter], dual: DualConfig | None) -> list[str]:
    """Return the names of the multipliers among the parameters."""
    return select(list(named), dual.match, "training.dual.match") if dual else []


def without_decay(model: nn.Module, kinds: Iterable[str]) -> set[str]:
    """Return the names of the parameters that weight decay leaves alone.

    Args:
        model: The model.
        kinds: ``bias``: what is called bias; ``norm``: all of a normalisation layer, told by its type or by a type
            whose name ends in ``Norm``; ``embedding``: tables of embeddings.
    """
    wanted, found = set(kinds), set()
    for module in model.modules():
        norm = isinstance(module, _NORMS) or type(module).__name__.endswith("Norm")
        kind = "norm" if norm else "embedding" if isinstance(module, nn.Embedding | nn.EmbeddingBag) else ""
        for name, parameter in module.named_parameters(recurse=False):
            if kind in wanted or ("bias" in wanted and name.endswith("bias")):
                found.add(id(parameter))
    # A parameter that several modules share has one name only.
    return {name for name, parameter in model.named_parameters() if id(parameter) in found}


def parameter_groups(model: nn.Module, config: TrainingConfig) -> list[dict[str, Any]]:
    """Return the groups of the main optimizer: those of ``training.param_groups``, then all others.

    Each is split by whether weight decay applies, and left out where it is empty; ``name`` says which it is.

    Raises:
        ConfigError: A pattern matches no parameter, or nothing is trained.
    """
    named = trained_parameters(model, config.dual)
    plain = without_decay(model, config.no_decay)
    left = list(named)
    groups = []
    for number, one in enumerate(config.param_groups):
        key = f"training.param_groups.{number}.match"
        taken = set(select(list(named), one.match, key)).intersection(left)
        decay = config.weight_decay if one.weight_decay is None else one.weight_decay
        groups.append((f"group {number}", taken, config.learning_rate * one.lr_multiplier, decay))
        left = [name for name in left if name not in taken]
    groups.append(("others" if config.param_groups else "all", set(left), config.learning_rate, config.weight_decay))
    made = []
    for title, members, rate, decay in groups:
        # Each group costs the optimizer some 20 microseconds a step, so without decay there is nothing to divide.
        spared = members & plain if decay else set()
        for suffix, chosen, value in (("", members - spared, decay), (" without decay", spared, 0.0)):
            if chosen:
                params = [parameter for name, parameter in named.items() if name in chosen]
                made.append({"params": params, "lr": rate, "weight_decay": value, "name": title + suffix})
    return made


def make_optimizer(groups: list[dict[str, Any]], config: TrainingConfig) -> Optimizer:
    """Return the main optimizer; on CUDA its fused form, where it has one.

    Raises:
        ConfigError: The optimizer is unknown or does not take an argument of ``training.optimizer_kwargs``.
    """
    kind = _kind(config.optimizer, "training.optimizer")
    known = set(inspect.signature(kind).parameters)
    given: dict[str, Any] = {"betas": (config.adam_beta1, config.adam_beta2), "eps": config.adam_epsilon}
    arguments = {name: value for name, value in given.items() if name in known and kind is not torch.optim.Adafactor}
    if "fused" in known and all(parameter.is_cuda for group in groups for parameter in group["params"]):
        arguments["fused"] = True
    for name in config.optimizer_kwargs:
        if name not in known - {"params"}:
            raise ConfigError(f"training.optimizer_kwargs.{name}: {config.optimizer} has none{nearest(name, known)}")
    try:
        return kind(groups, lr=config.learning_rate, **arguments | config.optimizer_kwargs)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"training.optimizer_kwargs: {config.optimizer} does not take them: {error}") from error


def make_dual_optimizer(model: nn.Module, config: DualConfig) -> Optimizer:
    """Return the optimizer of the multipliers, which maximises.

    Raises:
        ConfigError: The optimizer is unknown or cannot maximise, or a pattern matches no parameter.
    """
    kind = _kind(config.optimizer, "training.dual.optimizer")
    named = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    params = [named[name] for name in dual_names(named, config)]
    return kind(params, lr=config.learning_rate, maximize=True)


def _kind(name: str, key: str) -> Callable[..., Optimizer]:
    known = _ALIASES.get(name.lower(), name.lower())
    if known not in OPTIMIZERS:
        hint = nearest(name, OPTIMIZERS) or f"; there are {', '.join(OPTIMIZERS)}"
        raise ConfigError(f"{key}: unknown optimizer {name!r}{hint}")
    return OPTIMIZERS[known]
