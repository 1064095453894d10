"""The state of a whole run as one tree for a checkpoint, and back."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from bem_core.errors import CheckpointError, nearest
from bem_core.training import checks
from bem_core.training.batches import generator_state
from bem_core.training.checkpoint import load_model_part
from bem_core.training.meter import Meter
from bem_core.utils.device import move
from bem_core.utils.seeding import sample_seed, seed_everything

if TYPE_CHECKING:
    from bem_core.training.base_trainer import BaseTrainer

_log = logging.getLogger(__name__)
Tree = dict[str, Any]


def named_optimizer_state(optimizer: Optimizer, model: nn.Module) -> Tree:
    """Return an optimizer's state under the names of the parameters, so that it fits groups in another order.

    Args:
        optimizer: Of parameters of the model.
        model: Gives the names.
    """
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups, state = [], {}
    for group in optimizer.param_groups:
        members = [names[id(parameter)] for parameter in group["params"]]
        groups.append({key: value for key, value in group.items() if key != "params"} | {"params": members})
    for parameter, values in optimizer.state.items():
        state[names[id(parameter)]] = dict(values)
    return {"state": state, "groups": groups}


def load_optimizer_state(optimizer: Optimizer, model: nn.Module, saved: Mapping[str, Any], path: Path | str) -> None:
    """Put back what `named_optimizer_state` returned.

    Raises:
        CheckpointError: The groups hold other parameters than those of the checkpoint.
    """
    own = named_optimizer_state(optimizer, model)
    expected = [group["params"] for group in own["groups"]]
    found = [group["params"] for group in saved["groups"]]
    if sorted(map(sorted, expected)) != sorted(map(sorted, found)):
        raise CheckpointError(f"{path}: {_difference(expected, found)}")
    numbers: dict[str, int] = {}
    groups = []
    for names in expected:
        group = next(one for one in saved["groups"] if sorted(one["params"]) == sorted(names))
        start = len(numbers)
        numbers.update({name: start + place for place, name in enumerate(names)})
        groups.append(dict(group) | {"params": [numbers[name] for name in names]})
    state = {numbers[name]: values for name, values in saved["state"].items()}
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _difference(expected: list[list[str]], found: list[list[str]]) -> str:
    ours, theirs = {name for names in expected for name in names}, {name for names in found for name in names}
    if lacking := sorted(ours - theirs):
        return f"the optimizer of the checkpoint has no state for {lacking[0]!r}{nearest(lacking[0], theirs)}"
    if unknown := sorted(theirs - ours):
        return f"the optimizer of the checkpoint has state for {unknown[0]!r}, which is not trained here"
    return (
        f"the optimizer of the checkpoint has {len(found)} groups of parameters, this one has {len(expected)}, "
        "or they are divided in another way"
    )


def state_tree(trainer: BaseTrainer) -> Tree:
    """Return everything that a run needs to go on, as parts of a checkpoint; all ranks have to call it."""
    # First, because it shards parameters again that the last forward pass has put together.
    model = dict(trainer.model.state_dict())
    generators = trainer.ranks.gather(generator_state(trainer.source))
    parts: Tree = {
        "model": model,
        "optimizer": named_optimizer_state(trainer.optimizer, trainer.model),
        "rng": {str(rank): state for rank, state in enumerate(generators)},
        "trainer": _trainer_state(trainer),
    }
    if trainer.scheduler is not None:
        parts["scheduler"] = dict(trainer.scheduler.state_dict())
    if trainer.dual is not None:
        parts["dual"] = named_optimizer_state(trainer.dual, trainer.model)
    if trainer.precision.scaler is not None:
        parts["scaler"] = dict(trainer.precision.scaler.state_dict())
    if trainer.rollback is not None:
        parts["rollback"] = trainer.rollback.state()
    return parts


def _trainer_state(trainer: BaseTrainer) -> Tree:
    return {
        "progress": trainer.progress.to_dict() | {"elapsed_s": trainer.elapsed_s()},
        "world": trainer.ranks.world,
        "span": trainer.source.span,
        "meters": _from_all(trainer, trainer.meter.state()),
        "grad_norm": trainer.grad_norm,
        "history": trainer.history,
        "samples_seen": trainer.samples_seen,
        "epoch_rng": trainer.ranks.gather(trainer.epoch_rng),
        "callbacks": {type(one).__name__: one.state() for one in trainer.callbacks if one.state()},
        "component": checks.state_of(trainer._state()),
    }


def _from_all(trainer: BaseTrainer, value: Tree) -> list[Any]:
    # A tensor on CUDA would be one on the same device in each process that it is sent to.
    on_host = move(value, torch.device("cpu"), non_blocking=False) if trainer.ranks.spread else value
    return trainer.ranks.gather(on_host)


def load_state_tree(trainer: BaseTrainer, tree: Mapping[str, Any], path: Path) -> None:
    """Put a run back to where a checkpoint was made.

    Raises:
        CheckpointError: It is of another model, or of a run with other parts.
    """
    _check_parts(trainer, tree, path)
    load_model_part(trainer.model, tree["model"], path)
    load_optimizer_state(trainer.optimizer, trainer.model, tree["optimizer"], path)
    if trainer.scheduler is not None:
        _check_length(trainer.scheduler, tree["scheduler"], path)
        trainer.scheduler.load_state_dict(dict(tree["scheduler"]))
        # Torch warns where a schedule moves before its optimizer did; this one did, in another process.
        trainer.optimizer._opt_called = True  # type: ignore[attr-defined]
    if trainer.dual is not None:
        load_optimizer_state(trainer.dual, trainer.model, tree["dual"], path)
    if trainer.precision.scaler is not None:
        trainer.precision.scaler.load_state_dict(dict(tree["scaler"]))
    if trainer.rollback is not None:
        trainer.rollback.load(tree["rollback"], trainer.device)
    _load_trainer_state(trainer, tree["trainer"], tree["rng"])


def _check_parts(trainer: BaseTrainer, tree: Mapping[str, Any], path: Path) -> None:
    wanted = {
        "scheduler": trainer.scheduler is not None,
        "dual": trainer.dual is not None,
        "scaler": trainer.precision.scaler is not None,
        "rollback": trainer.rollback is not None,
    }
    lacking = [name for name, needed in wanted.items() if needed and name not in tree]
    lacking += [name for name in ("model", "optimizer", "trainer", "rng") if name not in tree]
    unused = [name for name, needed in wanted.items() if not needed and name in tree]
    if lacking or unused:
        found = [f"has no {name}" for name in lacking] + [f"has a {name}, which this run has not" for name in unused]
        raise CheckpointError(f"{path}: the checkpoint is of a run with other options: it {', '.join(found)}")


def _check_length(scheduler: LRScheduler, saved: Mapping[str, Any], path: Path) -> None:
    # Torch's one-cycle schedule takes its length from the checkpoint, and fails at the first step after it.
    length = getattr(scheduler, "total_steps", None)
    if length is not None and saved.get("total_steps", length) != length:
        raise CheckpointError(
            f"{path}: training.scheduler_type: the schedule of the checkpoint is for {saved['total_steps']} steps and "
            f"this run has {length}; this kind cannot go on with another number"
        )


def _load_trainer_state(trainer: BaseTrainer, saved: Mapping[str, Any], generators: Mapping[str, Any]) -> None:
    progress, ranks = trainer.progress, trainer.ranks
    progress.load(saved["progress"])
    same = saved["world"] == ranks.world
    progress.batch = _place(progress.batch, saved["span"], trainer.source.span, saved["world"], ranks.world)
    trainer.meter.load(saved["meters"][ranks.rank] if same else Meter.average(saved["meters"]))
    trainer.grad_norm = saved["grad_norm"]
    trainer.history = list(saved["history"])
    trainer.samples_seen = saved["samples_seen"]
    trainer.epoch_rng = saved["epoch_rng"][ranks.rank if same else 0]
    for callback in trainer.callbacks:
        if type(callback).__name__ in saved["callbacks"]:
            callback.load_state(saved["callbacks"][type(callback).__name__])
    trainer._load_state(move(saved["component"], trainer.device))
    if same:
        trainer.resumed_rng = generators[str(ranks.rank)]
    else:
        seed_everything(sample_seed(trainer.config.training.seed, ranks.rank, progress.step))
        trainer.resumed_rng = generator_state(trainer.source)


def _place(batch: int, old_span: int | None, span: int | None, old_world: int, world: int) -> int:
    """Return the number of the batch at which an epoch goes on, where batches may have other sizes than before.

    All ranks together see the same samples in the same order, whatever their number; only the batches differ.
    """
    if old_span is None or span is None:
        old_span, span = old_world, world
    seen = batch * old_span
    if seen % span:
        _log.warning("batches of another size: up to %d samples of this epoch are left out", span - seen % span)
    return -(-seen // span)
