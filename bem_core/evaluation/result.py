"""What an evaluation found."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bem_core.evaluation.errors import EvaluationError

_SPECIAL = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}


@dataclass(frozen=True, slots=True)
class LatencyStats:
    """Time that the model took for a batch, warm-up batches left out.

    Attributes:
        num_batches: Batches that were timed.
        mean_ms: Mean over batches; the percentiles interpolate linearly between them.
        samples_per_s: Samples of the timed batches by their time; ranks add up.
        tokens_per_s: The same for tokens, where the outputs have ``num_tokens``.
    """

    num_batches: int
    mean_ms: float
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    samples_per_s: float
    tokens_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class SliceResult:
    """The metrics of a part of the test set; none where it has no sample."""

    num_samples: int
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """What an evaluation found, over all ranks.

    Attributes:
        metrics: Values by the name that the registry has for them, and those of the component.
        num_samples: Samples that were evaluated.
        num_batches: Batches that they came in.
        duration_s: Wall time of the slowest rank, loading of data included.
        latency: None when it was not tracked, or every batch was for warm-up.
        peak_memory_bytes: Most memory in use on any rank; None when it was not tracked.
        memory_of: ``device`` where that is memory of tensors on a GPU during the evaluation, ``process`` where it is
            all memory of a process in its whole life, as on a CPU.
        slices: Parts of the test set by name.
        not_measured: Names that the configuration lists as metrics of speed or robustness and nothing measured.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    num_samples: int = 0
    num_batches: int = 0
    duration_s: float = 0.0
    latency: LatencyStats | None = None
    peak_memory_bytes: int | None = None
    memory_of: str | None = None
    slices: dict[str, SliceResult] = field(default_factory=dict)
    not_measured: tuple[str, ...] = ()

    def flat(self) -> dict[str, float]:
        """Return every number under one name: metrics, ``latency_p50_ms``, ``slice_a/accuracy``, ..."""
        flat = dict(self.metrics)
        flat["num_samples"] = float(self.num_samples)
        flat["duration_s"] = self.duration_s
        if self.latency is not None:
            flat |= {f"latency_{name}_ms": getattr(self.latency, f"{name}_ms") for name in ("mean", *PERCENTILES)}
            flat["throughput_samples_per_s"] = self.latency.samples_per_s
            if self.latency.tokens_per_s is not None:
                flat["throughput_tokens_per_s"] = self.latency.tokens_per_s
        if self.peak_memory_bytes is not None:
            flat["peak_memory_bytes"] = float(self.peak_memory_bytes)
            if self.memory_of == "device":
                flat["peak_device_memory_bytes"] = float(self.peak_memory_bytes)
        for name, part in self.slices.items():
            flat[f"{name}/num_samples"] = float(part.num_samples)
            flat |= {f"{name}/{key}": value for key, value in part.metrics.items()}
        return flat

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that JSON can hold; numbers that are not finite are texts, since JSON has none."""
        data: dict[str, Any] = plain(dataclasses.asdict(self))
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> EvaluationResult:
        """Return the result that `to_dict` was called on.

        Raises:
            EvaluationError: ``data`` has another form.
        """
        try:
            values = numbers(data)
            slices = {name: SliceResult(**part) for name, part in values.pop("slices", {}).items()}
            latency = values.pop("latency", None)
            missed = tuple(values.pop("not_measured", ()))
            timed = LatencyStats(**latency) if latency else None
            return cls(**values, slices=slices, latency=timed, not_measured=missed)
        except (AttributeError, TypeError) as error:
            raise EvaluationError(f"this is not the data of an evaluation result: {error}") from error


PERCENTILES = ("p50", "p90", "p95", "p99")


def plain(value: Any) -> Any:
    """Return plain data with a text for each number that is not finite, since JSON has none."""
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def numbers(value: Any) -> Any:
    """Return what `plain` was called on."""
    if isinstance(value, Mapping):
        return {key: numbers(one) for key, one in value.items()}
    return _SPECIAL.get(value, value) if isinstance(value, str) else value
