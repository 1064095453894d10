"""How much safety is wanted: a level from 0 to 1, made of a knob, the domain, the hidden states and the worst score.

Shapes: B batch, L tokens, D hidden.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bem2.safety.encoder import head, initialise
from bem2.safety.settings import DOMAIN_LEVELS, ControllerSettings

# Shares of the knob and of the domain; span of what the hidden states can say; how fast the level is raised and falls.
_KNOB, _DOMAIN, _CONTEXT, _RAISE, _DECAY = 0.7, 0.3, 0.4, 0.1, 0.95


class SafetyController(nn.Module):
    """Follows what it is told, smoothly.

    Args:
        hidden_size: D.
        settings: The options.

    Attributes:
        safety_knob: What the user wants; see `set_level`.
        adapted_safety_level: The level so far; moves in training only.
        escalation_level: What bad scores have added to it so far; the same.
    """

    domain_level: Tensor
    safety_knob: Tensor
    adapted_safety_level: Tensor
    escalation_level: Tensor

    def __init__(self, hidden_size: int, settings: ControllerSettings) -> None:
        super().__init__()
        self._settings = settings
        self.context_adapter = head(hidden_size, hidden_size // 3, 1)
        for name, value in (("safety_knob", settings.level), ("adapted_safety_level", settings.level)):
            self.register_buffer(name, torch.tensor(value))
        self.register_buffer("escalation_level", torch.tensor(0.0))
        self.register_buffer("domain_level", torch.tensor(DOMAIN_LEVELS[settings.domain]), persistent=False)
        initialise(self.context_adapter)

    def forward(self, hidden_BLD: Tensor, score_B: Tensor) -> Tensor:
        """Return the level, a scalar with a gradient for what reads the hidden states.

        Args:
            hidden_BLD: Last hidden state of the language model.
            score_B: How safe each text is.
        """
        settings = self._settings
        base = _KNOB * self.safety_knob + _DOMAIN * self.domain_level
        adjustment = settings.adaptation_strength * self._context(hidden_BLD)
        escalation = self._escalation(score_B)
        target = base + adjustment + escalation
        smoothing = settings.smoothing
        adapted = smoothing * self.adapted_safety_level + (1 - smoothing) * target
        level = adapted.clamp(settings.min_level, settings.max_level)
        if self.training:
            self.adapted_safety_level.copy_(level.detach())
            self.escalation_level.copy_(escalation)
        return level

    def set_level(self, level: float) -> None:
        """Turn the knob; the level is at once what is wanted, within its bounds."""
        value = min(self._settings.max_level, max(self._settings.min_level, level))
        self.safety_knob.fill_(value)
        self.adapted_safety_level.fill_(value)

    def _context(self, hidden_BLD: Tensor) -> Tensor:
        context = self.context_adapter(hidden_BLD.mean((0, 1)))
        return _CONTEXT * (torch.sigmoid(context).squeeze(-1) - 0.5)

    def _escalation(self, score_B: Tensor) -> Tensor:
        settings = self._settings
        worst = score_B.detach().min()
        shortfall = (settings.escalation_threshold - worst) / settings.escalation_threshold
        step = (shortfall * settings.escalation_factor).clamp(max=settings.max_escalation)
        raised = (1 - _RAISE) * self.escalation_level + _RAISE * step
        return torch.where(worst < settings.escalation_threshold, raised, _DECAY * self.escalation_level)
