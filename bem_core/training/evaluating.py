"""What surrounds an evaluation: modes that are put back, names of metrics, the metric that decides."""

from __future__ import annotations

import numbers
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from bem_core.config.base_config import ExperimentConfig
from bem_core.errors import TrainingError
from bem_core.training.state import Judge

PREFIX = "eval_"


def prefixed(metrics: Any) -> dict[str, float]:
    """Return metrics as floats whose names begin with ``eval_``.

    Raises:
        TrainingError: It is no mapping, or a value is no number.
    """
    if not isinstance(metrics, Mapping):
        raise TrainingError(f"_evaluate: expected a dict of numbers by name, got {type(metrics).__name__}")
    found = {}
    for name, value in metrics.items():
        number = value.item() if hasattr(value, "item") and getattr(value, "numel", lambda: 1)() == 1 else value
        if not isinstance(number, numbers.Real):
            raise TrainingError(f"_evaluate: expected {name!r} to be a number, got {type(value).__name__}")
        found[name if name.startswith(PREFIX) else PREFIX + name] = float(number)
    return found


def judge_of(config: ExperimentConfig) -> Judge:
    """Return what decides which evaluation is the best, as ``output`` and ``training`` say."""
    named = config.output.metric_for_best_model
    metric = named or f"{PREFIX}loss"
    return Judge(
        metric=metric if metric.startswith(PREFIX) else PREFIX + metric,
        required=named is not None,
        greater_is_better=config.output.greater_is_better,
        threshold=config.training.early_stopping_threshold,
        patience=config.training.early_stopping_patience,
    )


class FirstBatches:
    """The first batches of a loader.

    Args:
        loader: Can be iterated over again and again.
        limit: How many.
    """

    def __init__(self, loader: Any, limit: int) -> None:
        self._loader, self._limit = loader, limit
        self.dataset = getattr(loader, "dataset", None)

    @staticmethod
    def of(loader: Any, limit: int) -> Any:
        """Return the loader itself where there is no limit, or no loader."""
        return FirstBatches(loader, limit) if limit and loader is not None else loader

    def __len__(self) -> int:
        """Return the number of batches."""
        return min(len(self._loader), self._limit)

    def __iter__(self) -> Iterator[Any]:
        """Yield the batches."""
        return islice(iter(self._loader), self._limit)
