"""Faults in what checkpoints hold; they are compared where both sides save one after the same step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from bem_core.training import saving
from tests.parity.faults.catalogue import ALL, PT, SCHEDULED, Run, fault

Tree = dict[str, Any]
# There is one of them at the end of most trainings only.
EARLY = (2, 30)
OPTIMIZED = ("router_bc", "router_pg", "multimodal", *PT)


def changed_tree(run: Run, change: Callable[[Tree], Tree]) -> None:
    """Change the parts of checkpoints; ``change`` gets them and returns those that are other ones."""

    def tree(original: Any, trainer: Any) -> Tree:
        right: Tree = original(trainer)
        if not run.hit:
            return right
        if run.calls in {one.after_step for one in run.reference.checkpoints}:
            run.after_step()
        return right | change(right)

    run.around(saving, "state_tree", tree)


def tensors(tree: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Return a tree with other tensors."""
    if isinstance(tree, Mapping):
        return {name: tensors(value, change) for name, value in tree.items()}
    return change(tree) if isinstance(tree, Tensor) and tree.is_floating_point() else tree


def name_of(run: Run, tree: Tree) -> str:
    """Return the name of a tensor that is trained."""
    return next(
        name
        for name, value in tree["model"].items()
        if any(value is one or same_place(value, one) for one in run.alive)
    )


def same_place(one: Tensor, other: Tensor) -> bool:
    return one.data_ptr() == other.data_ptr()


@fault("checkpoint", "a tensor is missing in checkpoints", ALL, EARLY)
def _(run: Run) -> None:
    def change(tree: Tree) -> Tree:
        left = name_of(run, tree)
        return {"model": {name: value for name, value in tree["model"].items() if name != left}}

    changed_tree(run, change)


@fault("checkpoint", "weights are saved in half precision", ALL, EARLY)
def _(run: Run) -> None:
    changed_tree(run, lambda tree: {"model": tensors(tree["model"], lambda one: one.bfloat16())})


@fault("checkpoint", "weights are saved after averaging", ALL, EARLY)
def _(run: Run) -> None:
    changed_tree(run, lambda tree: {"model": tensors(tree["model"], lambda one: 0.999 * one)})


@fault("checkpoint", "moments are not saved", OPTIMIZED, EARLY)
def _(run: Run) -> None:
    changed_tree(run, lambda tree: {"optimizer": tensors(tree["optimizer"], torch.zeros_like)})


@fault("checkpoint", "the schedule is saved as it was at the beginning", SCHEDULED, EARLY)
def _(run: Run) -> None:
    changed_tree(run, lambda tree: {"scheduler": tree["scheduler"] | {"last_epoch": 0}})


@fault("checkpoint", "the number of steps in checkpoints is one off", ("router_bc", "router_pg", "multimodal"), EARLY)
def _(run: Run) -> None:
    def change(tree: Tree) -> Tree:
        progress = tree["trainer"]["progress"]
        counters = {name: progress[name] + 1 for name in ("step", "micro_step")}
        return {"trainer": tree["trainer"] | {"progress": progress | counters}}

    changed_tree(run, change)


@fault("checkpoint", "the best value is not in checkpoints", ("router_bc", "multimodal"), EARLY)
def _(run: Run) -> None:
    def change(tree: Tree) -> Tree:
        return {"trainer": tree["trainer"] | {"progress": tree["trainer"]["progress"] | {"best": None}}}

    changed_tree(run, change)
