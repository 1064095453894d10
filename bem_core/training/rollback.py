"""Going back to the best weights when training makes things worse."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bem_core.config.training_config import RollbackConfig
from bem_core.errors import TrainingError, nearest

_log = logging.getLogger(__name__)
_HISTORY = 1000


class Rollback:
    """Keeps the best weights in memory, and restores them after checks in a row that found a worse loss.

    A check compares the mean of the last ``window`` steps with that of the first ones in a history of 1,000. Reading
    the loss at each step makes the host wait for the device.

    Args:
        config: The options.
        model: Whose weights they are.
    """

    def __init__(self, config: RollbackConfig, model: nn.Module) -> None:
        self._config, self._model = config, model
        self._history: deque[float] = deque(maxlen=_HISTORY)
        self._best = float("inf")
        self._failed = 0
        self._weights: dict[str, Tensor] | None = None

    def observe(self, step: int, losses: Mapping[str, Tensor]) -> bool:
        """Take a step into account; tell whether the weights went back.

        Args:
            step: Its number.
            losses: The loss and its parts.

        Raises:
            TrainingError: The metric is no part of the loss.
        """
        config = self._config
        self._history.append(_value(losses, config.metric, "training.rollback.metric"))
        judged = _value(losses, config.best_metric or config.metric, "training.rollback.best_metric")
        if judged < self._best:
            self._best = judged
            self._weights = {name: value.detach().clone() for name, value in self._model.state_dict().items()}
        if step % config.check_steps or len(self._history) < config.window:
            return False
        self._failed = self._failed + 1 if self._is_worse() else 0
        if self._failed < config.threshold or self._weights is None:
            return False
        self._failed = 0
        self._model.load_state_dict(self._weights)
        _log.warning("step %d: %s rose, so the weights go back to the best ones", step, config.metric)
        return True

    def _is_worse(self) -> bool:
        window, values = self._config.window, list(self._history)
        first = values[:window] if len(values) > 2 * window else values[-window:]
        return sum(values[-window:]) / window - sum(first) / len(first) > self._config.max_increase

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint needs."""
        weights = self._weights or {}
        return {
            "history": torch.tensor(list(self._history), dtype=torch.float64),
            "best": self._best,
            "failed": self._failed,
            "weights": weights,
        }

    def load(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Take over the state of a checkpoint."""
        self._history = deque(state["history"].tolist(), maxlen=_HISTORY)
        self._best, self._failed = state["best"], state["failed"]
        self._weights = {name: value.to(device) for name, value in state["weights"].items()} or None


def _value(losses: Mapping[str, Tensor], name: str, key: str) -> float:
    if name not in losses:
        raise TrainingError(f"{key}: the loss has no part {name!r}{nearest(name, losses)}; it has {', '.join(losses)}")
    return float(losses[name].item())
