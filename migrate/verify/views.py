"""A trace as it is compared: names as the reference has them, and only what had an effect."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from migrate.verify.names import Match, renamed
from migrate.verify.trace.reader import Checkpoint, Evaluation, Events, Names, Step, Trace

# How a step is computed, not what: the numbers themselves show where that makes a difference.
_IMPLEMENTATION = frozenset("foreach fused capturable differentiable members".split())
# What schedulers and trainers note down for themselves.
_NOTES = frozenset(
    "initial_lr max_lr min_lr base_lr swa_lr max_momentum base_momentum warmup_momentum name param_names".split()
)
# What `Optimizer.state_dict` has of a parameter.
_STATE = re.compile(r"((?:.*\.)?state\.)(\d+)\.([^.]+)")
_ORDERED = ("backward", "grad", "clip", "unscale", "update", "skip")

Hyper = dict[str, Any]


@dataclass(slots=True)
class View:
    """One side of a comparison.

    Attributes:
        trace: What was recorded.
        match: Names of the reference for those of this side; empty for the reference itself.
        lone: Buffers and frozen parameters that are not compared, because only this side has them.
        checkpoint_names: Patterns for keys of checkpoints, and what stands for them in the comparison.
        saved_parameters: Names of the parameters in the order in which an optimizer saves them.
        order: Number of each optimizer by its first step, which does not depend on when it was made.
    """

    trace: Trace
    match: Match = field(default_factory=lambda: Match({}))
    lone: frozenset[str] = frozenset()
    checkpoint_names: Mapping[str, str] = field(default_factory=dict)
    saved_parameters: tuple[str, ...] = ()
    _members: dict[tuple[int, int], list[list[str]]] = field(default_factory=dict)
    _loaders: dict[int, list[dict[str, Any]]] | None = None
    order: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Number the optimizers by their first step, which does not depend on when they were made."""
        for step in self.trace.steps:
            self.order.setdefault(step.optimizer, len(self.order))

    def generators(self) -> set[str]:
        """Return the names of generators that were drawn from: what the state of another is says nothing."""
        seen: dict[str, set[str]] = {}
        records: list[Step | Evaluation] = [*self.trace.steps, *self.trace.evaluations]
        for record in records:
            for name, one in record.rng.items():
                seen.setdefault(name, set()).add(one["digest"])
        return {name for name, states in seen.items() if len(states) > 1 or len(records) == 1}

    def optimizer(self, step: Step) -> int:
        """Return the number of the optimizer of a step, in order of first steps."""
        return self.order[step.optimizer]

    def members(self, step: Step) -> list[list[str]]:
        """Return the parameters in each group of the optimizer of a step, as the reference calls them."""
        key = step.names, step.optimizer
        if key not in self._members:
            groups = self.trace.names_of(step).members(step.optimizer)
            self._members[key] = [[self.match.reference_name(name) for name in group] for group in groups]
        return self._members[key]

    def tensors(self, step: Step, kind: str) -> dict[str, str | None]:
        """Return the digests of one kind of tensors, as the reference calls them."""
        found = step.tensors.get(kind, {})
        own = self.match.reference_state if kind == "state" else self.match.reference_name
        lone = self.lone if kind == "buffers" else ()
        return {own(name): value for name, value in found.items() if name not in lone}

    def forms(self, names: Names) -> dict[str, dict[str, Any]]:
        """Return every tensor of a table by what it is and what the reference calls it."""
        found = {}
        for kind, tensors in (("parameter", names.parameters), ("buffer", names.buffers), ("frozen", names.frozen)):
            for tensor in tensors:
                if tensor["name"] not in self.lone:
                    found[f"{kind} {self.match.reference_name(tensor['name'])}"] = tensor
        return found

    def loaders(self) -> dict[int, list[dict[str, Any]]]:
        """Return what each loader gave while the model was trained, numbered by first use; ``step`` is added."""
        if self._loaders is None:
            numbers: dict[int, int] = {}
            self._loaders = {}
            for step in self.trace.steps:
                for batch in step.batches:
                    number = numbers.setdefault(batch["loader"], len(numbers))
                    self._loaders.setdefault(number, []).append({**batch, "step": step.number})
        return self._loaders


def form(tensor: Mapping[str, Any]) -> str:
    """Return type and shape of a tensor in a table of names."""
    return f"{str(tensor['dtype']).removeprefix('torch.')}{list(tensor['shape'] or ())}"


def hyper(step: Step) -> list[Hyper]:
    """Return the hyper-parameters of each group that decide what a step does."""
    return [plain_group(group) for group in step.groups]


def plain_group(group: Mapping[str, Any]) -> Hyper:
    """Return the hyper-parameters of a group that decide what a step does."""
    return {key: value for key, value in group.items() if key not in _IMPLEMENTATION | _NOTES}


def meaningful(entries: Mapping[str, str]) -> dict[str, str]:
    """Return the entries of a checkpoint without those of groups of an optimizer that decide nothing."""
    ignored = _IMPLEMENTATION | _NOTES
    return {
        key: value
        for key, value in entries.items()
        if not (".param_groups." in f".{key}" and key.rpartition(".")[2] in ignored)
    }


def saved(view: View, checkpoint: Checkpoint, only: str, other: Collection[str] = ()) -> dict[str, str]:
    """Return the entries of a checkpoint that are compared: renamed, and those whose keys then fit a pattern.

    Optimizers save the state of each parameter by its number; its name stands for it where the other side has no such
    key. What two keys are renamed to has both values, so it is the same as nothing.

    Args:
        view: The side that saved it.
        checkpoint: What it saved.
        only: The pattern.
        other: Keys of the other side, as `saved_keys` returns them.
    """
    found: dict[str, str] = {}
    for key, value in meaningful(checkpoint.entries).items():
        new = renamed(key, view.checkpoint_names)
        if new not in other:
            new = renamed(_with_name(key, view.saved_parameters), view.checkpoint_names)
        if re.fullmatch(only, new):
            found[new] = f"{found[new]} and {value}" if new in found else value
    return found


def saved_keys(view: View, checkpoint: Checkpoint) -> set[str]:
    """Return the keys of a checkpoint as the comparison has them."""
    return {renamed(key, view.checkpoint_names) for key in checkpoint.entries}


def _with_name(key: str, parameters: Sequence[str]) -> str:
    found = _STATE.fullmatch(key)
    if found is None or int(found[2]) >= len(parameters):
        return key
    return f"{found[1]}{parameters[int(found[2])]}.{found[3]}"


def saved_parameters(trace: Trace, names: Mapping[str, str]) -> tuple[str, ...]:
    """Return the parameters of a run in the order in which its optimizer saves them; of several optimizers, nothing.

    Args:
        trace: The run.
        names: Patterns for names, and what stands for them.
    """
    if not trace.names or len(trace.names[0].optimizers) != 1:
        return ()
    return tuple(renamed(name, names) for group in trace.names[0].members(0) for name in group)


def by_parameter(groups: list[Hyper], members: list[list[str]]) -> dict[str, Any]:
    """Return every hyper-parameter of every parameter, for groups that are cut in another way."""
    return {
        f"{name} {key}": value
        for group, names in zip(groups, members, strict=True)
        for name in names
        for key, value in group.items()
    }


def effective_losses(events: Events, optimizer: int) -> list[str]:
    """Return what the gradients of a step came from: not those that were set to zero again before it."""
    return events.losses[_discarded(events, optimizer) :]


def _discarded(events: Events, optimizer: int) -> int:
    """Count the backward passes before the last reset of gradients."""
    count = discarded = 0
    for event in events.phases:
        if event == "backward":
            count += 1
        elif event in ("zero", f"zero:{optimizer}"):
            discarded = count
    return min(discarded, len(events.losses))


def epochs(events: Events) -> int:
    """Count how often a loader was begun."""
    return sum(event.startswith("iter:") for event in events.phases)


def order(events: Events, optimizer: int) -> list[str]:
    """Return the events that decide what a step does, in order.

    Learning rates and batches are compared by value, so when schedulers moved and loaders were asked does not count.
    Neither does a reset of gradients before the first backward pass: what it leaves behind shows in the gradients.
    """
    skip = _discarded(events, optimizer)
    found: list[str] = []
    for event in events.phases:
        name = event.partition(":")[0]
        if name == "backward" and skip:
            skip -= 1
            found.clear()
        elif name in _ORDERED:
            found.append(name)
    return found
