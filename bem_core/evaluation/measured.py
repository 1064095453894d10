"""Names of what is measured beside the outputs of the model: time, memory, size."""

from __future__ import annotations

import re
from collections.abc import Mapping

_LATENCY = re.compile(r"latency_(?P<after>mean|p50|p90|p95|p99)(_ms)?|(?P<before>mean|p50|p90|p95|p99)_latency(_ms)?")
_GB, _MB = 1e9, 1e6
# Other spellings: what is measured, and how many of its unit make one of theirs.
_NAMES = {
    "latency": ("latency_p50_ms", 1.0),
    "latency_ms": ("latency_p50_ms", 1.0),
    "p50": ("latency_p50_ms", 1.0),
    "throughput_tokens_per_sec": ("throughput_tokens_per_s", 1.0),
    "tokens_per_second": ("throughput_tokens_per_s", 1.0),
    "throughput_samples_per_sec": ("throughput_samples_per_s", 1.0),
    "samples_per_second": ("throughput_samples_per_s", 1.0),
    "memory_bytes": ("peak_memory_bytes", 1.0),
    "memory_mb": ("peak_memory_bytes", _MB),
    "peak_memory_mb": ("peak_memory_bytes", _MB),
    "memory": ("peak_memory_bytes", 1.0),
    "vram": ("peak_device_memory_bytes", 1.0),
    "vram_usage_gb": ("peak_device_memory_bytes", _GB),
    "vram_gb": ("peak_device_memory_bytes", _GB),
    "parameter_count": ("num_parameters", 1.0),
    "params": ("num_parameters", 1.0),
    "param": ("num_parameters", 1.0),
    "parameters": ("num_parameters", 1.0),
    "flop_count": ("flops", 1.0),
    "flop": ("flops", 1.0),
    "eval_samples": ("num_samples", 1.0),
}
_LOWER = re.compile(r"latency|loss|perplexity|ppl|memory|vram|bytes|duration|num_parameters|flops|_ms$|error|violation")


def resolve(name: str) -> tuple[str, float]:
    """Return the name under which results have a measurement, and its units in one of those of ``name``."""
    match = _LATENCY.fullmatch(name)
    if match:
        return f"latency_{match['after'] or match['before']}_ms", 1.0
    return _NAMES.get(name, (name, 1.0))


def lookup(name: str, values: Mapping[str, float]) -> float | None:
    """Return a measurement in the unit of ``name``; None where ``values`` do not have it."""
    key, unit = resolve(name)
    return values[key] / unit if key in values else None


def is_latency(name: str) -> bool:
    """Tell whether a name stands for a time or a rate that only a tracked evaluation has."""
    return resolve(name)[0].startswith(("latency_", "throughput_"))


def is_memory(name: str) -> bool:
    """Tell whether a name stands for peak memory."""
    return resolve(name)[0] in ("peak_memory_bytes", "peak_device_memory_bytes")


def is_cost(name: str) -> bool:
    """Tell whether a name stands for the size of the model or its work."""
    return resolve(name)[0] in ("num_parameters", "flops")


def lower_is_better(name: str) -> bool:
    """Tell by the name of a measurement that less of it is an improvement."""
    return bool(_LOWER.search(resolve(name)[0]))
