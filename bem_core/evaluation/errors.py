"""What can be wrong with an evaluation that a user can act on."""

from __future__ import annotations

from bem_core.errors import BemError


class EvaluationError(BemError):
    """Data, options or outputs of a model cannot be evaluated as asked."""


class StatisticsError(BemError):
    """Values do not allow the statistic that was asked for."""
