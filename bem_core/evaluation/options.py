"""What an evaluation is asked for, read from its section of an experiment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bem_core.config.base_config import EvaluationConfig
from bem_core.config.schema import Report, build
from bem_core.errors import ConfigError
from bem_core.evaluation import measured, metrics
from bem_core.evaluation.slices import Slice, read


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be measured.

    Attributes:
        registered: Metrics of the registry.
        component: Metrics of ``evaluation.metrics`` that the component has to give.
        extra: Metrics of speed and robustness that the component may give.
        latency: Whether batches are timed.
        memory: Whether peak memory is read.
        costs: Whether parameters and floating-point operations are counted.
        slices: Parts of the test set.
        num_samples: Samples at most.
        warmup_batches: Batches that are not timed.
    """

    registered: tuple[str, ...]
    component: tuple[str, ...]
    extra: tuple[str, ...]
    latency: bool
    memory: bool
    costs: bool
    slices: tuple[Slice, ...]
    num_samples: int | None
    warmup_batches: int


def read_config(config: EvaluationConfig | Mapping[str, Any] | None) -> EvaluationConfig:
    """Return the section as it is, or make it of a mapping with the same keys.

    Raises:
        ConfigError: Keys or values are wrong; all are named.
    """
    if isinstance(config, EvaluationConfig):
        return config
    report = Report()
    made = build(EvaluationConfig, dict(config or {}), ("evaluation",), report)
    if report.problems:
        raise ConfigError("\n".join(f"{'.'.join(map(str, one.path))}: {one.message}" for one in report.problems))
    return made


def plan(config: EvaluationConfig) -> Plan:
    """Sort the names of a configuration by who measures them.

    Naming a latency or peak memory asks for it, as ``track_latency`` and ``track_memory`` do.

    Raises:
        EvaluationError: The slices are not valid.
    """
    optional = [*config.performance_metrics, *config.robustness_metrics]
    named = [*config.metrics, *optional]
    free = [name for name in config.metrics if not _is_measured(name)]
    return Plan(
        registered=tuple(dict.fromkeys(metrics.canonical(name) for name in free if metrics.is_registered(name))),
        component=tuple(dict.fromkeys(name for name in free if not metrics.is_registered(name))),
        extra=tuple(dict.fromkeys(optional)),
        latency=config.track_latency or any(map(measured.is_latency, named)),
        memory=config.track_memory or any(map(measured.is_memory, named)),
        costs=any(map(measured.is_cost, named)),
        slices=tuple(read(config.slices)),
        num_samples=config.num_eval_samples,
        warmup_batches=config.warmup_batches,
    )


def _is_measured(name: str) -> bool:
    return measured.is_latency(name) or measured.is_memory(name) or measured.is_cost(name)
