"""The one evaluation loop; a component says what the model does with a batch."""

from __future__ import annotations

import dataclasses
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bem_core.config.base_config import EvaluationConfig
from bem_core.errors import nearest
from bem_core.evaluation import measured, metrics, options
from bem_core.evaluation.costs import count_flops, count_parameters
from bem_core.evaluation.errors import EvaluationError
from bem_core.evaluation.modes import evaluation_mode
from bem_core.evaluation.ranks import gather, rank_and_size, share
from bem_core.evaluation.result import EvaluationResult, SliceResult
from bem_core.evaluation.samples import count, take
from bem_core.evaluation.scores import Numbers, Scores, ScoresState
from bem_core.evaluation.timing import Stopwatch, Timings, latency_stats
from bem_core.utils.device import move, peak_memory_bytes, pick_device, reset_peak_memory

logger = logging.getLogger(__name__)


class _Share(NamedTuple):
    """What one rank found."""

    scores: list[ScoresState]
    num_batches: int
    duration_s: float
    timings: Timings
    peak_memory_bytes: int | None
    costs: dict[str, float]


class BaseEvaluator(ABC):
    """Evaluates a model on a test set.

    The model is in evaluation mode meanwhile, without gradients, and afterwards as it was. Means are over samples,
    never over batches. With ``sharded``, each rank of a distributed run has its part of the test set, which may be
    empty, and all get the result for the whole; where the outputs are those of a single process, so are the metrics, to
    the last bit. Without it, each rank evaluates what it is given and asks no other.

    Args:
        model: The model; it is moved to ``device`` if that is given.
        config: The section ``evaluation`` of an experiment, or a mapping with its keys.
        device: Where batches go; by default where the model is.

    Raises:
        ConfigError: The configuration has unknown keys or wrong values.
        DeviceError: There is no such device.
        EvaluationError: Its slices are not valid.
        MissingExtraError: A metric needs a package that is not installed.
    """

    def __init__(
        self,
        model: nn.Module,
        config: EvaluationConfig | Mapping[str, Any] | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        self.model = model
        self.config = options.read_config(config)
        self._plan = options.plan(self.config)
        Scores(self._plan.registered)  # So that a package is missed now and not after the first epoch.
        self.device = _device_of(model) if device is None else pick_device(str(device))
        if device is not None:
            model.to(self.device)

    @abstractmethod
    def _run_inference(self, batch: Any) -> Mapping[str, Any]:
        """Run the model on a batch and return what metrics need.

        Names that metrics read: ``predictions`` (texts or classes), ``references``, ``labels``, ``probabilities``,
        ``loss``, ``nll`` and ``num_tokens``. What the batch has need not be returned again. A value whose first
        dimension or length is that of the batch is taken for one entry a sample.

        Args:
            batch: A batch on `device`.
        """

    def _compute_component_metrics(self, outputs: Mapping[str, Any], batch: Any) -> Numbers:
        """Return what the component measures on a batch, by name: a number for each sample, or a mean over the batch.

        The result has the mean over all samples. The first batch must have all names that the configuration lists. What
        is no mean of samples is a `Metric` and registered.
        """
        return {}

    def _num_samples(self, batch: Any) -> int:
        """Return the number of samples in a batch."""
        size = count(batch)
        if size is None:
            raise EvaluationError(f"a batch of type {type(batch).__name__} has no tensor or list to count samples by")
        return size

    def _take(self, batch: Any, num_samples: int, size: int) -> Any:
        """Return the first ``num_samples`` of a batch of ``size``."""
        return take(batch, slice(num_samples), size)

    def evaluate(self, dataloader: Iterable[Any]) -> EvaluationResult:
        """Evaluate the model on all batches, or the first ``num_eval_samples`` samples.

        Raises:
            EvaluationError: There is no sample, a metric is listed that nobody measures, or one lacks what it needs.
        """
        scores = [Scores(self._plan.registered) for _ in range(1 + len(self._plan.slices))]
        with evaluation_mode(self.model), torch.inference_mode():
            mine = self._run(dataloader, scores)
        ranks, own = (gather(mine), rank_and_size()[0]) if self.config.sharded else ([mine], 0)
        for rank in [*ranks[:own], *ranks[own + 1 :]]:
            for one, state in zip(scores, rank.scores, strict=True):
                one.merge(state)
        if not scores[0].num_samples:
            raise EvaluationError("there is nothing to evaluate: the data loader gave no sample")
        return self._result(scores, ranks)

    def _run(self, dataloader: Iterable[Any], scores: list[Scores]) -> _Share:
        asked = self._plan
        start, num_batches, costs = time.perf_counter(), 0, {}
        watch = Stopwatch(self.device, max(asked.warmup_batches, int(asked.costs)))
        if asked.memory:
            reset_peak_memory(self.device)
        for batch, size in self._in_step(self._batches(dataloader)):
            if asked.costs and not num_batches:
                flops, outputs = count_flops(lambda batch=batch: self._run_inference(batch))  # type: ignore[misc]
                costs = {"num_parameters": float(count_parameters(self.model)), "flops": float(flops)}
            elif asked.latency:
                outputs = watch.call(lambda batch=batch: self._run_inference(batch))  # type: ignore[misc]
            else:
                outputs = self._run_inference(batch)
            self._update(scores, batch, outputs, size, first=not num_batches)
            if asked.latency:
                watch.count(size, outputs.get("num_tokens"))
            num_batches += 1
        peak = peak_memory_bytes(self.device) if asked.memory else None
        states = [one.state() for one in scores]
        return _Share(states, num_batches, time.perf_counter() - start, watch.timings(), peak, costs)

    def _in_step(self, batches: Iterator[tuple[Any, int]]) -> Iterator[tuple[Any, int]]:
        """Yield the batches, and run the model for nothing while other ranks have more of them.

        A model whose parameters are sharded over the ranks cannot run on some of them only.
        """
        if not (self.config.sharded and hasattr(self.model, "set_requires_gradient_sync")):
            yield from batches
            return
        last = None
        while any(left := gather((item := next(batches, None)) is not None)):
            if last is None and not all(left):
                lacking = f"rank {left.index(False)} has no sample"
                raise EvaluationError(f"evaluation.sharded: {lacking}, and cannot run a sharded model without one")
            if item is not None:
                last = item
                yield item
            elif last is not None:
                self._run_inference(last[0])

    def _batches(self, dataloader: Iterable[Any]) -> Iterator[tuple[Any, int]]:
        left = self._plan.num_samples
        if left is not None and self.config.sharded:
            left = share(left, *rank_and_size())
            if not left:
                return
        for batch in dataloader:
            size = self._num_samples(batch)
            if left is not None and size > left:
                batch, size = self._take(batch, left, size), left
            if size:
                yield move(batch, self.device), size
            if left is not None:
                left -= size
                if not left:
                    return

    def _update(self, scores: list[Scores], batch: Any, outputs: Mapping[str, Any], size: int, *, first: bool) -> None:
        if not isinstance(outputs, Mapping):
            raise EvaluationError(f"_run_inference returned a {type(outputs).__name__}; expected a mapping by name")
        values = {**batch, **outputs} if isinstance(batch, Mapping) else outputs
        component = self._compute_component_metrics(outputs, batch)
        if first:
            self._check_names(component)
        scores[0].update(values, component, size)
        for part, one in zip(self._plan.slices, scores[1:], strict=True):
            one.update_part(values, component, size, part.members(values, size))

    def _check_names(self, component: Numbers) -> None:
        missing = [name for name in self._plan.component if name not in component]
        if missing:
            known = [*metrics.names(), *component]
            named = (f"evaluation.metrics: nothing measures {name!r}{nearest(name, known)}" for name in missing)
            there = f"there are {', '.join(metrics.names())}"
            given = f"_compute_component_metrics of {type(self).__name__} returns {', '.join(component) or 'none'}"
            raise EvaluationError("\n".join([*named, f"{there}; {given}"]))

    def _result(self, scores: list[Scores], ranks: list[_Share]) -> EvaluationResult:
        peaks = [rank.peak_memory_bytes for rank in ranks if rank.peak_memory_bytes is not None]
        costs = next((rank.costs for rank in ranks if rank.costs), {})
        latency = latency_stats([rank.timings for rank in ranks])
        if self._plan.latency and latency is None:
            logger.warning("no latency: all batches were for warm-up (evaluation.warmup_batches)")
        parts = zip(self._plan.slices, scores[1:], strict=True)
        result = EvaluationResult(
            metrics=scores[0].compute() | costs,
            num_samples=scores[0].num_samples,
            num_batches=sum(rank.num_batches for rank in ranks),
            duration_s=max(rank.duration_s for rank in ranks),
            latency=latency,
            peak_memory_bytes=max(peaks) if peaks else None,
            memory_of=("process" if self.device.type == "cpu" else "device") if peaks else None,
            slices={part.name: SliceResult(one.num_samples, one.compute()) for part, one in parts},
        )
        return self._with_not_measured(result)

    def _with_not_measured(self, result: EvaluationResult) -> EvaluationResult:
        flat = result.flat()
        missing = tuple(
            name
            for name in self._plan.extra
            if measured.lookup(name, flat) is None and metrics.canonical(name) not in flat
        )
        if missing:
            logger.warning("not measured, though the configuration lists it: %s", ", ".join(missing))
        return dataclasses.replace(result, not_measured=missing)


def _device_of(model: nn.Module) -> torch.device:
    tensor: Tensor | None = next(iter(model.parameters()), next(iter(model.buffers()), None))
    return torch.device("cpu") if tensor is None else tensor.device
