"""
Safety controller: one number between 0 and 1, how much safety.

level = 0.9 * level + 0.1 * (0.7 * knob + 0.3 * domain + strength * context + escalation)
"""

import json
import logging
from dataclasses import dataclass
from enum import Enum
from typing import Dict, Optional, Tuple, Union

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
    """Configuration of the controller."""

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
    # Was hard-coded.
    hidden_dim: int = 768


class SafetyController(nn.Module):
    def __init__(self, config: ControlConfig):
        super().__init__()
        self.config = config
        third = max(1, config.hidden_dim // 3)
        self.context_adapter = nn.Sequential(nn.Linear(config.hidden_dim, third), nn.ReLU(), nn.Linear(third, 1))
        self.domain_safety_levels = dict(DOMAIN_LEVELS)
        level = config.default_safety_level
        self.register_buffer("safety_knob", torch.tensor(level))
        self.register_buffer("adapted_safety_level", torch.tensor(level))
        self.register_buffer("escalation_level", torch.tensor(0.0))
        self.register_buffer("user_override_active", torch.tensor(False))
        self.register_buffer("user_override_value", torch.tensor(level))
        self.register_buffer("override_steps_remaining", torch.tensor(0))
        self.register_buffer("total_adjustments", torch.tensor(0))
        self.register_buffer("escalation_count", torch.tensor(0))
        self.register_buffer("adaptation_count", torch.tensor(0))
        self.register_buffer("safety_history", torch.zeros(config.history_length))
        self.register_buffer("history_pointer", torch.tensor(0))
        self.safety_cache = {}
        self._initialize_parameters()

    def forward(
        self,
        hidden_states: torch.Tensor,
        constitutional_scores: torch.Tensor,
        domain: Optional[str] = None,
        user_override: Optional[float] = None,
        return_telemetry: bool = False,
    ) -> Union[float, Tuple[float, Dict[str, any]]]:
        if user_override is not None and self.config.allow_user_override:
            return self._handle_user_override(user_override, return_telemetry)
        if bool(self.user_override_active):
            override = self._apply_active_override(return_telemetry)
            if override is not None:
                return override
        base_safety = 0.7 * self.safety_knob
        if self.config.domain_specific_safety:
            base_safety = base_safety + 0.3 * self._get_domain_safety_level(domain or "general")
        else:
            base_safety = base_safety + 0.3 * self.safety_knob
        adjustment = torch.zeros(())
        if self.config.context_adaptation:
            adjustment = self.config.adaptation_strength * self._compute_context_adaptation(hidden_states)
        escalation = torch.zeros(())
        if self.config.auto_escalation:
            escalation = self._compute_escalation_adjustment(constitutional_scores)
        smoothing = self.config.adaptation_smoothing
        target = base_safety + adjustment + escalation
        adapted = smoothing * self.adapted_safety_level + (1 - smoothing) * target
        # A tensor: as a float it would let no gradient through to the context adapter.
        level = torch.clamp(adapted, self.config.min_safety_level, self.config.max_safety_level)
        if self.training:
            self.adapted_safety_level.copy_(level.detach())
            if self.config.auto_escalation:
                self.escalation_level.copy_(escalation)
            self._update_safety_telemetry(float(level.detach()))
        if return_telemetry:
            telemetry = self._compute_safety_telemetry(
                float(base_safety), float(adjustment.detach()), float(escalation), float(level.detach()), domain
            )
            return level, telemetry
        return level

    def _get_domain_safety_level(self, domain: str) -> torch.Tensor:
        return torch.tensor(self.domain_safety_levels.get(domain, self.domain_safety_levels["general"]))

    def _compute_context_adaptation(self, hidden_states: torch.Tensor) -> torch.Tensor:
        context = self.context_adapter(hidden_states.mean(dim=(0, 1)))
        return 0.4 * (torch.sigmoid(context).squeeze(-1) - 0.5)

    def _compute_escalation_adjustment(self, constitutional_scores: torch.Tensor) -> torch.Tensor:
        config = self.config
        worst = constitutional_scores.detach().min()
        shortfall = (config.escalation_threshold - worst) / config.escalation_threshold
        raised = 0.9 * self.escalation_level + 0.1 * torch.clamp(
            shortfall * config.escalation_factor, max=config.max_escalation
        )
        return torch.where(worst < config.escalation_threshold, raised, 0.95 * self.escalation_level)

    def _handle_user_override(self, user_override: float, return_telemetry: bool):
        value = min(self.config.max_safety_level, max(self.config.min_safety_level, float(user_override)))
        self.user_override_active.fill_(True)
        self.user_override_value.fill_(value)
        self.override_steps_remaining.fill_(self.config.override_decay_steps)
        return self._apply_active_override(return_telemetry)

    def _apply_active_override(self, return_telemetry: bool):
        remaining = int(self.override_steps_remaining)
        if remaining <= 0:
            # The caller goes on with the real hidden states; it once went on with zeros(1, 1, 768).
            self.clear_user_override()
            return None
        self.override_steps_remaining.fill_(remaining - 1)
        level = self.user_override_value.clone()
        self._update_safety_telemetry(float(level))
        return (level, {"user_override": True, "steps_remaining": remaining - 1}) if return_telemetry else level

    def _update_safety_telemetry(self, safety_level: float):
        self.total_adjustments += 1
        if float(self.escalation_level) > 0.01:
            self.escalation_count += 1
        if self.config.context_adaptation:
            self.adaptation_count += 1
        if self.config.track_safety_history:
            pointer = int(self.history_pointer)
            self.safety_history[pointer % self.config.history_length] = safety_level
            self.history_pointer.fill_(pointer + 1)

    def _compute_safety_telemetry(
        self,
        base_safety: float,
        context_adjustment: float,
        escalation_adjustment: float,
        final_safety: float,
        domain: Optional[str],
    ) -> Dict[str, any]:
        return {
            "base_safety": base_safety,
            "context_adjustment": context_adjustment,
            "escalation_adjustment": escalation_adjustment,
            "final_safety": round(final_safety, self.config.safety_knob_precision),
            "domain": domain or "general",
            "user_override": False,
        }

    def set_safety_level(self, new_level: float, user_override: bool = False):
        level = min(self.config.max_safety_level, max(self.config.min_safety_level, float(new_level)))
        if user_override:
            self._handle_user_override(level, False)
        else:
            self.safety_knob.fill_(level)
            self.adapted_safety_level.fill_(level)

    def get_safety_level(self) -> float:
        if bool(self.user_override_active):
            return float(self.user_override_value)
        return float(self.adapted_safety_level)

    def get_safety_statistics(self) -> Dict[str, float]:
        seen = self.safety_history[: min(self.config.history_length, int(self.history_pointer))]
        return {
            "current_level": self.get_safety_level(),
            "mean_level": float(seen.mean()) if len(seen) else 0.0,
            "total_adjustments": float(self.total_adjustments),
            "escalation_count": float(self.escalation_count),
            "adaptation_count": float(self.adaptation_count),
        }

    def set_domain_safety_level(self, domain: str, level: float):
        self.domain_safety_levels[domain] = min(1.0, max(0.0, level))

    def clear_user_override(self):
        self.user_override_active.fill_(False)
        self.override_steps_remaining.zero_()

    def reset_telemetry(self):
        for buffer in (self.total_adjustments, self.escalation_count, self.adaptation_count, self.history_pointer):
            buffer.zero_()
        self.safety_history.zero_()

    def _initialize_parameters(self):
        for module in self.context_adapter:
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def export_safety_config(self, filepath: str):
        with open(filepath, "w") as f:
            json.dump({"safety_knob": float(self.safety_knob), "domains": self.domain_safety_levels}, f, indent=2)

    def load_safety_config(self, filepath: str):
        with open(filepath, "r") as f:
            saved = json.load(f)
        self.set_safety_level(saved["safety_knob"])
        self.domain_safety_levels.update(saved["domains"])
