"""PT4: feature-wise modulation near the identity."""

import logging
from dataclasses import dataclass
from typing import Tuple

import torch
import torch.nn as nn

from ..security.parameter_protection import ParameterProtector
from bem.modules.governance import SpectralGovernance

logger = logging.getLogger(__name__)


@dataclass
class ResidualFiLMConfig:
    gamma_dim: int = 16
    beta_dim: int = 16
    controller_dim: int = 32
    micro_scale: float = 0.01
    clamp_range: float = 0.1
    residual_scale: float = 0.1
    controller_layers: int = 2
    controller_activation: str = "gelu"
    controller_dropout: float = 0.05
    use_channel_wise: bool = True
    use_spatial_wise: bool = False
    normalize_features: bool = True
    max_gamma: float = 1.2
    min_gamma: float = 0.8
    max_beta: float = 0.1
    budget_tolerance: float = 0.05
    minimal_overhead: bool = True


class MicroModulationController(nn.Module):
    def __init__(self, config: ResidualFiLMConfig, hidden_size: int):
        super().__init__()
        self.config = config
        self.norm = nn.LayerNorm(hidden_size)
        self.net = nn.Sequential(nn.Linear(hidden_size, config.controller_dim), nn.GELU())
        self.gamma = nn.Linear(config.controller_dim, hidden_size)
        self.beta = nn.Linear(config.controller_dim, hidden_size)

    def forward(self, hidden_states: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
        config, features = self.config, self.net(self.norm(hidden_states).mean(dim=1, keepdim=True))
        shift = (config.micro_scale * self.gamma(features)).clamp(-config.clamp_range, config.clamp_range)
        beta = (config.micro_scale * self.beta(features)).clamp(-config.max_beta, config.max_beta)
        return (1 + shift).clamp(config.min_gamma, config.max_gamma), beta


class ResidualFiLMModule(nn.Module):
    def __init__(self, config: ResidualFiLMConfig, layer_idx: int, hidden_size: int):
        super().__init__()
        self.config, self.layer_idx, self.guard = config, layer_idx, ParameterProtector()
        self.controller = MicroModulationController(config, hidden_size)
        self.residual_scale = nn.Parameter(torch.tensor(config.residual_scale))
        self.governance = SpectralGovernance(config.clamp_range)

    def forward(self, hidden_states: torch.Tensor, output_attentions: bool = False):
        gamma, beta = self.controller(hidden_states)
        delta, stats = self.governance.apply_spectral_clamp(gamma * hidden_states + beta - hidden_states)
        return hidden_states + self.residual_scale * delta, {"gamma": gamma, "beta": beta, **stats}
