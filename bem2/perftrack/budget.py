"""The parameters that adapters may add, checked before any step is done."""

from __future__ import annotations

import logging

from torch import nn

from bem2.perftrack.wrapping import adapters
from bem_core.config import ExperimentConfig, invalid
from bem_core.evaluation.costs import count_parameters

_log = logging.getLogger(__name__)


def check_budget(model: nn.Module, config: ExperimentConfig) -> None:
    """Warn of a model whose size is outside of an enforced budget, or refuse it.

    Args:
        model: With its adapters.
        config: ``budget`` says what is enforced, and whether a run ends for it.

    Raises:
        ConfigError: It is, and ``budget.abort_on_violation`` is set.
    """
    budget = config.budget
    if not budget.enforce_constraints or budget.baseline_params is None or budget.parameter_tolerance is None:
        return
    found, wanted = count_parameters(model), budget.baseline_params
    if abs(found - wanted) <= budget.parameter_tolerance * wanted:
        return
    trained = f"{count_parameters(model, trainable_only=True)} of them are in {len(adapters(model))} adapters"
    message = f"the model has {found} parameters, {found / wanted - 1:+.1%} of {wanted}; {trained}"
    error = invalid(config, "budget.baseline_params", message)
    if budget.abort_on_violation:
        raise error
    _log.warning("%s", error)
