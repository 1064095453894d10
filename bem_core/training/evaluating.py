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
    output, patience = config.output, config.training.early_stopping_patience
    metric = output.metric_for_best_model or "loss"
    return Judge(
        metric=metric if metric.startswith(PREFIX) else PREFIX + metric,
        required=bool(output.metric_for_best_model or patience or output.load_best_model_at_end),
        greater_is_better=_direction(metric) if output.greater_is_better is None else output.greater_is_better,
        threshold=config.training.early_stopping_threshold,
        patience=patience,
        same=_same,
    )


def _same(name: str) -> str:
    """Return the name that stands for all spellings of a metric."""
    # Metrics take time to import, and most runs name theirs as their evaluation does.
    from bem_core.evaluation.metrics import canonical

    return canonical(name)


def _direction(metric: str) -> bool:
    """Tell whether more of a metric is better; of one that nobody registered, and of losses, less is."""
    if metric.removeprefix(PREFIX) == "loss":
        return False
    from bem_core.evaluation.metrics import higher_is_better

    return bool(higher_is_better(metric))


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
