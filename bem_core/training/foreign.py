"""Going on from a checkpoint that a component's old trainer wrote: what it holds, put under our names."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from bem_core.errors import CheckpointError, nearest
from bem_core.training.checkpoint_model import load_model_part
from bem_core.training.pickled import read_pickled

if TYPE_CHECKING:
    from bem_core.training.base_trainer import BaseTrainer


@dataclass(frozen=True, kw_only=True)
class LegacyCheckpoint:
    """Where the checkpoints of a component's old trainer keep what a run goes on from.

    Keys are dotted; ``{variant}`` in them stands for ``variant_id`` of the experiment.

    Attributes:
        model: Key of a state dict, and what stands before its names in our model; a number or a tensor is put under
            the very name.
        names: Patterns of names, and what takes their place, in order, before they get their prefix; as in `re.sub`.
        dropped: Patterns of names in the old state dict, before they are changed, that our model has no place for.
        kept: Patterns of names in our model that the old checkpoint may lack; they stay as they are.
        optimizer: Key of the state of the optimizer; None where the old trainer kept none.
        scheduler: The same of the scheduler.
        progress: Returns counters of `Progress` for the whole mapping: ``step`` and ``epoch`` are those to go on with.
    """

    model: Mapping[str, str] = field(default_factory=lambda: {"model_state_dict": ""})
    names: Mapping[str, str] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    optimizer: str | None = "optimizer_state_dict"
    scheduler: str | None = "scheduler_state_dict"
    progress: Callable[[Mapping[str, Any]], Mapping[str, Any]]


def restore_foreign(trainer: BaseTrainer, path: Path) -> None:
    """Let a run go on from a checkpoint of its component's old trainer.

    Random generators and the order of the data are not in such a checkpoint: they are those of a run that begins.

    Raises:
        CheckpointError: The component has had no trainer before, the file cannot be read, or it is of another model.
    """
    layout = trainer.legacy_checkpoint
    if layout is None:
        raise CheckpointError(
            f"{path}: expected a folder; {type(trainer).__name__} knows no checkpoints that are files"
        )
    if trainer.ranks.spread:
        raise CheckpointError(f"{path}: an old checkpoint can be read by a run of one process only")
    saved = read_pickled(path)
    variant = trainer.config.variant_id or ""
    model, optimizer, scheduler = _model(trainer, layout, saved, path), None, None
    if layout.optimizer is not None:
        optimizer = _mapping(saved, layout.optimizer, variant, path)
        _check_optimizer(trainer.optimizer, optimizer, path)
    if layout.scheduler is not None and trainer.scheduler is not None:
        scheduler = _mapping(saved, layout.scheduler, variant, path)
    load_model_part(trainer.model, model, path)
    if optimizer is not None:
        trainer.optimizer.load_state_dict(optimizer)
    if scheduler is not None and trainer.scheduler is not None:
        trainer.scheduler.load_state_dict(scheduler)
        # Torch warns where a schedule moves before its optimizer did; this one did, in the old run.
        trainer.optimizer._opt_called = True  # type: ignore[attr-defined]
    trainer.progress.load(dict(layout.progress(saved)))


def _part(saved: Mapping[str, Any], key: str, variant: str, path: Path) -> Any:
    found: Any = saved
    for part in key.replace("{variant}", variant).split("."):
        if not isinstance(found, Mapping) or part not in found:
            names = [str(name) for name in found] if isinstance(found, Mapping) else []
            hint = nearest(part, names) or f"; there are {', '.join(names) or 'none'}"
            raise CheckpointError(f"{path}: expected a key {part!r} ({key}){hint}")
        found = found[part]
    return found


def _mapping(saved: Mapping[str, Any], key: str, variant: str, path: Path) -> dict[str, Any]:
    found = _part(saved, key, variant, path)
    if not isinstance(found, Mapping):
        raise CheckpointError(f"{path}: {key}: expected a mapping, found {type(found).__name__}")
    return dict(found)


def _model(trainer: BaseTrainer, layout: LegacyCheckpoint, saved: Mapping[str, Any], path: Path) -> dict[str, Any]:
    own = trainer.model.state_dict()
    found = {name: value for name, value in own.items() if _matches(name, layout.kept)}
    for key, prefix in layout.model.items():
        part = _part(saved, key, trainer.config.variant_id or "", path)
        if isinstance(part, Mapping):
            taken = {str(name): value for name, value in part.items() if not _matches(str(name), layout.dropped)}
            found |= {prefix + _renamed(name, layout.names): value for name, value in taken.items()}
        else:
            found[prefix] = _like(part, own[prefix])
    return found


def _like(value: Any, own: Tensor) -> Tensor:
    return torch.as_tensor(value, dtype=own.dtype).reshape(own.shape)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(re.fullmatch(one, name) for one in patterns)


def _renamed(name: str, patterns: Mapping[str, str]) -> str:
    for pattern, replacement in patterns.items():
        name = re.sub(pattern, replacement, name)
    return name


def _check_optimizer(optimizer: Optimizer, saved: Mapping[str, Any], path: Path) -> None:
    if lacking := {"param_groups", "state"} - saved.keys():
        raise CheckpointError(f"{path}: the state of its optimizer lacks {', '.join(sorted(lacking))}")
    ours = [len(group["params"]) for group in optimizer.param_groups]
    theirs = [len(group["params"]) for group in saved["param_groups"]]
    if ours != theirs:
        raise CheckpointError(f"{path}: its optimizer has groups of {theirs} parameters, this one of {ours}")
    parameters = [one for group in optimizer.param_groups for one in group["params"]]
    numbers = [one for group in saved["param_groups"] for one in group["params"]]
    for place, (number, parameter) in enumerate(zip(numbers, parameters, strict=True)):
        for name, value in saved["state"].get(number, {}).items():
            if isinstance(value, Tensor) and value.dim() and value.shape != parameter.shape:
                raise CheckpointError(
                    f"{path}: {name} of parameter {place} of the optimizer has the shape {tuple(value.shape)}, "
                    f"expected {tuple(parameter.shape)}"
                )
