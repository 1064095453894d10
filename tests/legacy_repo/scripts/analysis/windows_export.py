"""Written on Windows: CRLF line ends."""

import csv

from bem.telemetry import TelemetryCollector
from src.bem2.evaluation.cache_analyzer import (
    CacheAnalyzer,  # hit rates
)


def export(path: str, collector: TelemetryCollector) -> None:
    with open(path, "w", newline="") as f:
        csv.writer(f).writerows(collector.summary().items())


print(CacheAnalyzer().analyze([1, 1, 2]))
