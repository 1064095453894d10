"""Runs that cannot be compared step by step, compared by their metrics over seeds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bem_core.evaluation.statistics import difference_interval, equivalence, holm

# Least number of pairs that a t-test gets anything out of; the interval of two is a hundred times as wide.
MIN_SEEDS = 3


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One metric over all seeds, candidate minus reference.

    Attributes:
        metric: Its name.
        num_seeds: Pairs.
        difference: Mean.
        low: Lower end of the paired bootstrap interval, 95 %.
        high: Its upper end.
        interval: How the interval was found: ``BCa``, ``percentile`` or ``constant``.
        margin: Difference that does not matter, by the case.
        p_value: Of two one-sided tests (TOST).
        p_holm: Corrected for the number of metrics.
        excludes: Smallest margin that these seeds would have passed alone: what is larger, they exclude.
        equivalent: Whether ``p_holm`` is below the level.
    """

    metric: str
    num_seeds: int
    difference: float
    low: float
    high: float
    interval: str
    margin: float
    p_value: float
    p_holm: float
    excludes: float
    equivalent: bool

    def __str__(self) -> str:
        """Return one line."""
        verdict = "within" if self.equivalent else "not shown to be within"
        return (
            f"{self.metric}: {self.difference:+.4g} [{self.low:.4g}, {self.high:.4g}] {verdict} {self.margin:g} "
            f"(p {self.p_holm:.3g}); {self.num_seeds} seeds exclude differences above {self.excludes:.3g}"
        )


def compare_metrics(
    reference: Mapping[str, Sequence[float]],
    candidate: Mapping[str, Sequence[float]],
    margins: Mapping[str, float],
    alpha: float = 0.05,
) -> list[MetricRow]:
    """Test for each metric whether the two sides differ by less than its margin, whatever the seeds.

    Args:
        reference: For each metric a value for each seed, in the same order on both sides.
        candidate: The same of the candidate.
        margins: The metrics, each with the difference that does not matter.
        alpha: Chance of calling any metric equivalent that is not, over all of them.

    Raises:
        StatisticsError: There are too few values, other numbers of them, or one is not finite.
    """
    rows = []
    for metric, margin in margins.items():
        pair = candidate[metric], reference[metric]
        tested = equivalence(*pair, margin, alpha=alpha)
        interval = difference_interval(*pair)
        excludes = max(abs(tested.low), abs(tested.high))
        rows.append(
            MetricRow(
                metric,
                tested.num_pairs,
                tested.difference,
                interval.low,
                interval.high,
                interval.method,
                margin,
                tested.p_value,
                math.nan,
                excludes,
                False,
            )
        )
    adjusted = holm([row.p_value for row in rows], alpha=alpha)
    return [
        dataclasses.replace(row, p_holm=p_value, equivalent=p_value < alpha)
        for row, p_value in zip(rows, adjusted.p_values, strict=True)
    ]
