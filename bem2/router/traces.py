"""Traces as batches: read from JSON Lines files and checked, or made up."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bem2.router.macro_policy import RANKS, MacroAction, MacroPolicyState
from bem2.router.settings import PolicyConfig, Settings
from bem2.router.trace_generator import TraceGenerator, TraceStep
from bem_core.config import ExperimentConfig, existing_file
from bem_core.errors import DataError, nearest
from bem_core.utils.json_lines import JsonLines

_SHOWN = 10
_WIDTHS = {
    "chunk_summary": "chunk_summary_dim",
    "retrieval_features": "retrieval_dim",
    "vision_features": "vision_dim",
    "value_features": "value_dim",
}


class TraceSamples(Dataset[dict[str, Any]]):
    """All chunks of all traces: ``state`` and ``action`` each.

    Args:
        steps: The chunks.
    """

    #: Loading a sample draws no random number.
    deterministic = True

    def __init__(self, steps: Sequence[TraceStep]) -> None:
        states = zip(*(step.state for step in steps), strict=True)
        self._state = MacroPolicyState(*(torch.stack(column) for column in states))
        self._action = torch.stack([step.action for step in steps])

    def __len__(self) -> int:
        """Return the number of chunks."""
        return len(self._action)

    def __getitem__(self, index: int | list[int]) -> dict[str, Any]:
        """Return a chunk, or several as a batch."""
        return {"state": MacroPolicyState(*(part[index] for part in self._state)), "action": self._action[index]}

    def __getitems__(self, indices: list[int]) -> dict[str, Any]:
        """Return a batch, which takes one look-up for each tensor and not one for each sample."""
        return self[indices]


class Joined:
    """Takes the batch that `TraceSamples` made as it is."""

    deterministic = True

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return the batch."""
        return batch


def trace_loaders(config: ExperimentConfig, settings: Settings) -> tuple[DataLoader[Any], DataLoader[Any] | None]:
    """Return the loaders of training and evaluation.

    ``data.train_file`` and ``data.validation_file`` are read where they are given. Without the first, traces are made
    up, and the last of them, ``trace_generation.eval_share``, are for evaluation.

    Raises:
        ConfigError: There is no such file.
        DataError: A file cannot be used; names the first ten lines that are wrong.
    """
    data = config.data
    read = functools.partial(read_traces, policy=settings.policy, limit=data.max_samples)
    train_file, validation_file = (existing_file(config, f"data.{name}_file") for name in ("train", "validation"))
    train, held_out = ([], []) if train_file is not None else _made_up(config, settings)
    if train_file is not None:
        train = read(train_file)
    if validation_file is not None:
        held_out = read(validation_file)
    options: dict[str, Any] = {"collate_fn": Joined(), "num_workers": data.dataloader_num_workers}
    size = config.training.batch_size
    loader = DataLoader(TraceSamples(_flat(train)), batch_size=size, shuffle=True, **options)
    if not held_out:
        return loader, None
    eval_size = config.evaluation.eval_batch_size or size
    return loader, DataLoader(TraceSamples(_flat(held_out)), batch_size=eval_size, **options)


def _made_up(config: ExperimentConfig, settings: Settings) -> tuple[list[list[TraceStep]], list[list[TraceStep]]]:
    options = settings.traces
    seed = config.training.seed if options.seed is None else options.seed
    traces = list(TraceGenerator(options, settings.policy, seed).traces())
    split = max(1, len(traces) - round(len(traces) * options.eval_share))
    return traces[:split], traces[split:]


def _flat(traces: Iterable[list[TraceStep]]) -> list[TraceStep]:
    return list(itertools.chain.from_iterable(traces))


def read_traces(path: Path | str, policy: PolicyConfig, limit: int | None = None) -> list[list[TraceStep]]:
    """Read traces of a JSON Lines file: a mapping with ``states`` and ``actions`` a line.

    Args:
        path: The file.
        policy: Widths that the states must have, and the choices that there are.
        limit: Traces that are read at most.

    Raises:
        DataError: The file cannot be read, or lines are wrong; names the first ten.
    """
    lines = JsonLines(path)
    found, problems, count = [], [], 0
    for number in range(min(len(lines), limit or len(lines))):
        try:
            found.append(_trace(lines[number], policy, lines, number))
        except DataError as error:
            count += 1
            problems += [str(error)] if count <= _SHOWN else []
    if problems:
        raise DataError("\n".join([*problems, *([f"and {count - _SHOWN} more"] if count > _SHOWN else [])]))
    return found


def _trace(line: Any, policy: PolicyConfig, lines: JsonLines, number: int) -> list[TraceStep]:
    try:
        states, actions = (_field(line, name, name) for name in ("states", "actions"))
        if not isinstance(states, list) or not isinstance(actions, list) or len(states) != len(actions) or not states:
            raise ValueError("states, actions: expected two lists of the same length, of at least one chunk")
        pairs = enumerate(zip(states, actions, strict=True))
        return [
            TraceStep(_state(s, policy, f"states.{at}"), _action(a, policy, f"actions.{at}")) for at, (s, a) in pairs
        ]
    except ValueError as error:
        raise DataError(f"{lines.where(number)}: {error}") from error


def _field(found: Any, name: str, where: str) -> Any:
    if not isinstance(found, Mapping):
        raise ValueError(f"{where.rpartition('.')[0] or 'the line'}: expected a mapping, found {found!r:.60}")
    if name not in found:
        raise ValueError(f"{where}: it is missing{nearest(name, map(str, found))}")
    return found[name]


def _state(found: Any, policy: PolicyConfig, where: str) -> MacroPolicyState:
    widths = {name: getattr(policy, key) for name, key in _WIDTHS.items()}
    parts = {name: _numbers(_field(found, name, f"{where}.{name}"), widths[name], f"{where}.{name}") for name in widths}
    last = _field(found, "prev_action", f"{where}.prev_action")
    action = torch.zeros(5) if last is None else _numbers(last, 5, f"{where}.prev_action")
    index = _numbers(_field(found, "chunk_index", f"{where}.chunk_index"), 1, f"{where}.chunk_index")
    return MacroPolicyState(**parts, prev_action=action, chunk_index=index[0].long())


def _numbers(found: Any, width: int, where: str) -> Tensor:
    # Old traces have a dimension for a batch of one.
    row = found[0] if isinstance(found, list) and len(found) == 1 and isinstance(found[0], list) else found
    row = row if isinstance(row, list) else [row]
    if len(row) != width:
        raise ValueError(f"{where}: expected {width} numbers, as macro_policy says, found {len(row)}")
    try:
        numbers = torch.tensor(row, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError):
        numbers = torch.tensor([math.nan])
    if numbers.dim() != 1 or not numbers.isfinite().all():
        raise ValueError(f"{where}: expected numbers, found {row!r:.60}")
    return numbers


def _action(found: Any, policy: PolicyConfig, where: str) -> Tensor:
    allowed: dict[str, Sequence[Any]] = {
        "expert_id": range(policy.num_experts),
        "scope": ("local", "global"),
        "span": range(1, policy.max_span + 1),
        "rank_budget": RANKS,
    }
    for name, choices in allowed.items():
        value = _field(found, name, f"{where}.{name}")
        if value not in choices:
            raise ValueError(f"{where}.{name}: expected one of {', '.join(map(str, choices))}, found {value!r:.60}")
    bias = float(_numbers(_field(found, "bias_scale", f"{where}.bias_scale"), 1, f"{where}.bias_scale"))
    return MacroAction(**{name: found[name] for name in allowed}, bias_scale=bias).to_tensor()
