"""One number between 0 and 1: how much safety."""

import logging
from dataclasses import dataclass
from enum import Enum
from typing import Dict, Optional, Union

import torch
import torch.nn as nn

logger = logging.getLogger(__name__)

DOMAIN_LEVELS = {
    "general": 0.6,
    "medical": 0.8,
    "legal": 0.7,
    "financial": 0.7,
    "educational": 0.5,
    "creative": 0.4,
    "technical": 0.5,
    "sensitive": 0.9,
}


class SafetyMode(Enum):
    DISABLED = 0.0
    LOW = 0.3
    MEDIUM = 0.6
    HIGH = 0.8
    MAXIMUM = 1.0


@dataclass
class ControlConfig:
    default_safety_level: float = 0.6
    safety_knob_precision: int = 3
    context_adaptation: bool = True
    adaptation_strength: float = 0.2
    adaptation_smoothing: float = 0.9
    auto_escalation: bool = True
    escalation_threshold: float = 0.2
    escalation_factor: float = 0.5
    max_escalation: float = 1.0
    min_safety_level: float = 0.0
    max_safety_level: float = 1.0
    adjustment_rate: float = 0.1
    track_safety_history: bool = True
    history_length: int = 1000
    allow_user_override: bool = True
    override_decay_steps: int = 500
    domain_specific_safety: bool = True
    content_type_adaptation: bool = True
    cache_safety_computations: bool = True
    batch_safety_processing: bool = True


class SafetyController(nn.Module):
    def __init__(self, config: ControlConfig):
        super().__init__()
        self.config = config
        self.level = config.default_safety_level
        self.domain_levels: Dict[str, float] = dict(DOMAIN_LEVELS)

    def forward(
        self,
        hidden_states: torch.Tensor,
        constitutional_scores: torch.Tensor,
        domain: Optional[str] = None,
        user_override: Optional[float] = None,
        return_telemetry: bool = False,
    ) -> Union[float, tuple]:
        config = self.config
        target = 0.7 * self.level + 0.3 * self.domain_levels.get(domain or "general", 0.6)
        lowest = float(constitutional_scores.min())
        if config.auto_escalation and lowest < config.escalation_threshold:
            shortfall = (config.escalation_threshold - lowest) / config.escalation_threshold
            target += min(shortfall * config.escalation_factor, config.max_escalation)
        if user_override is not None and config.allow_user_override:
            target = user_override
        blended = config.adaptation_smoothing * self.level + (1 - config.adaptation_smoothing) * target
        self.level = min(config.max_safety_level, max(config.min_safety_level, blended))
        return (self.level, {"lowest_score": lowest}) if return_telemetry else self.level

    def set_safety_level(self, new_level: float, user_override: bool = False) -> None:
        self.level = new_level

    def get_safety_level(self) -> float:
        return self.level

    def set_domain_safety_level(self, domain: str, level: float) -> None:
        self.domain_levels[domain] = level
