"""Relative differences of numbers."""

from __future__ import annotations

import math


def relative_error(reference: float, candidate: float) -> float:
    """Return how far a number is from another, relative to the first; infinite where that is zero or not finite."""
    if reference == candidate or (math.isnan(reference) and math.isnan(candidate)):
        return 0.0
    if not (math.isfinite(reference) and math.isfinite(candidate)) or reference == 0:
        return math.inf
    return abs(candidate - reference) / abs(reference)
