"""The metrics of a test set or a part of it, while batches come in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bem_core.evaluation import metrics
from bem_core.evaluation.errors import EvaluationError
from bem_core.evaluation.samples import is_per_sample, take
from bem_core.evaluation.sums import Mean, SumState

# Per name: a number for each sample, or the mean of the batch.
Numbers = Mapping[str, Tensor | float]


class ScoresState(NamedTuple):
    """What the scores of one rank are; it can be pickled."""

    num_samples: int
    metrics: dict[str, Any]
    means: dict[str, tuple[SumState, SumState]]


class Scores:
    """Registered metrics and means of what a component measures.

    Args:
        names: The registered metrics.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.num_samples = 0
        self._metrics = {metrics.canonical(name): metrics.create(name) for name in names}
        self._means: dict[str, Mean] = {}

    def update(self, values: Mapping[str, Any], component: Numbers, num_samples: int) -> None:
        """Take a batch.

        Args:
            values: The outputs of the model, and what is in the batch under other names.
            component: What a component measured.
            num_samples: Samples of the batch.

        Raises:
            EvaluationError: A metric needs what is not there, or there is not one number a sample.
        """
        self.num_samples += num_samples
        for name, metric in self._metrics.items():
            for key in metric.needs:
                if key not in values:
                    raise EvaluationError(
                        f"the metric {name!r} needs {key!r} from the outputs of _run_inference or the batch; there are "
                        f"{', '.join(map(repr, values)) or 'none'}"
                    )
            metric.update(values, num_samples)
        for name, numbers in component.items():
            self._add(name, numbers, num_samples)

    def update_part(self, values: Mapping[str, Any], component: Numbers, num_samples: int, members: list[int]) -> None:
        """Take some samples of a batch; what is not there for each sample is left out, and so are metrics of it."""
        self.num_samples += len(members)
        if not members:
            return
        part = _part(values, num_samples, members)
        for metric in self._metrics.values():
            if all(key in part for key in metric.needs):
                metric.update(part, len(members))
        for name, numbers in _part(component, num_samples, members).items():
            self._add(name, numbers, len(members))

    def _add(self, name: str, numbers: Tensor | float, num_samples: int) -> None:
        if name in self._metrics:
            raise EvaluationError(
                f"_compute_component_metrics returns {name!r}, which is the name of a metric listed too"
            )
        tensor = torch.as_tensor(numbers)
        if tensor.numel() not in (1, num_samples):
            raise EvaluationError(
                f"_compute_component_metrics returns {tensor.numel()} numbers as {name!r}; expected one, or "
                f"{num_samples}, one a sample"
            )
        self._means.setdefault(name, Mean()).add(tensor, tensor.numel(), num_samples // tensor.numel())

    def state(self) -> ScoresState:
        """Return what `merge` takes."""
        states = {name: metric.state() for name, metric in self._metrics.items()}
        return ScoresState(self.num_samples, states, {name: mean.state() for name, mean in self._means.items()})

    def merge(self, state: ScoresState) -> None:
        """Add what another rank found."""
        self.num_samples += state.num_samples
        for name, metric in state.metrics.items():
            self._metrics[name].merge(metric)
        for name, mean in state.means.items():
            self._means.setdefault(name, Mean()).merge(mean)

    def compute(self) -> dict[str, float]:
        """Return all values by name."""
        found: dict[str, float] = {}
        for metric in self._metrics.values():
            found |= metric.compute()
        return found | {name: mean.value() for name, mean in sorted(self._means.items())}


def _part(values: Mapping[str, Any], num_samples: int, members: list[int]) -> dict[str, Any]:
    return {
        key: take(value, members, num_samples) for key, value in values.items() if is_per_sample(value, num_samples)
    }
