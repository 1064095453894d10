"""What surrounds an evaluation: modes that are put back, names of metrics, the metric that decides."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator, Mapping, Sized
from itertools import islice
from typing import Any, cast

from torch.utils.data import BatchSampler, DataLoader, SequentialSampler, Subset

from bem_core.config.base_config import ExperimentConfig
from bem_core.errors import TrainingError
from bem_core.evaluation.samples import count, take
from bem_core.training.distributed import Ranks
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


def agreed(metrics: dict[str, float], ranks: Ranks, sharded: bool) -> dict[str, float]:
    """Return the metrics that all ranks go on with: those of the first one, which differ from the others in noise only.

    Raises:
        TrainingError: Each rank has evaluated its part, and the parts were not put together.
    """
    if not sharded or not ranks.spread:
        return dict(ranks.broadcast(metrics))
    found = ranks.gather(metrics)
    for name, value in found[0].items():
        for rank, other in enumerate(found):
            if other.get(name) != value and not (math.isnan(value) and math.isnan(other.get(name, 0.0))):
                raise TrainingError(
                    f"evaluation.sharded: {name} is {value} on rank 0 and {other.get(name)} on rank {rank}; _evaluate "
                    "must put the parts together, as BaseEvaluator does"
                )
    return metrics


def part_of(loader: Any, ranks: Ranks, sharded: bool) -> Any:
    """Return the part of an evaluation loader that this rank evaluates: sample ``i`` is on rank ``i % world``."""
    if loader is None or not sharded or not ranks.spread:
        return loader
    if isinstance(loader, DataLoader) and _in_order(loader):
        chosen = range(ranks.rank, len(cast("Sized", loader.dataset)), ranks.world)
        return DataLoader(
            Subset(loader.dataset, chosen),
            batch_size=loader.batch_size,
            num_workers=loader.num_workers,
            collate_fn=loader.collate_fn,
            pin_memory=loader.pin_memory,
            timeout=loader.timeout,
            worker_init_fn=loader.worker_init_fn,
            multiprocessing_context=loader.multiprocessing_context,
            prefetch_factor=loader.prefetch_factor if loader.num_workers else None,
            persistent_workers=loader.persistent_workers,
        )
    return PartOfBatches(loader, ranks)


def _in_order(loader: DataLoader[Any]) -> bool:
    plain = type(loader.sampler) is SequentialSampler and type(loader.batch_sampler) is BatchSampler
    return plain and loader.batch_size is not None and not loader.drop_last


class PartOfBatches:
    """The samples of one rank from the batches of a loader that only it knows the order of; each rank loads all.

    Args:
        loader: Can be iterated over again and again, and gives the same batches on each rank.
        ranks: The processes.
    """

    def __init__(self, loader: Any, ranks: Ranks) -> None:
        self._loader, self._ranks = loader, ranks
        self.dataset = getattr(loader, "dataset", None)

    def __len__(self) -> int:
        """Return the number of batches, some of which may have nothing for this rank."""
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        """Yield what this rank has of each batch."""
        seen = 0
        for batch in self._loader:
            size = count(batch)
            if size is None:
                raise TrainingError("evaluation.sharded: a batch has no tensor or list to count samples by")
            mine = list(range((self._ranks.rank - seen) % self._ranks.world, size, self._ranks.world))
            seen += size
            if mine:
                yield take(batch, mine, size)


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
