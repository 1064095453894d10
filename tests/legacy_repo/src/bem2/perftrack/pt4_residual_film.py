"""
PT4: Residual FiLM

Feature-wise scales and shifts, near the identity, from a tiny controller.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from typing import Dict, List, Optional, Tuple
from dataclasses import dataclass
import logging

from ..security.parameter_protection import ParameterGuard
try:
    from bem_legacy.modules.governance import SpectralGovernance
except ImportError:
    from src.bem_legacy.modules.governance import SpectralGovernance

logger = logging.getLogger(__name__)


@dataclass
class ResidualFiLMConfig:
    """Configuration for residual FiLM."""
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
    """Computes gamma [B, gamma_dim] near 1 and beta [B, beta_dim] near 0."""

    def __init__(self, config: ResidualFiLMConfig, hidden_size: int):
        super().__init__()
        self.config = config
        self.hidden_size = hidden_size
        layers: List[nn.Module] = []
        width = hidden_size
        for _ in range(config.controller_layers - 1):
            layers += [
                nn.Linear(width, config.controller_dim),
                nn.LayerNorm(config.controller_dim),
                self._get_activation(config.controller_activation),
                nn.Dropout(config.controller_dropout),
            ]
            width = config.controller_dim
        layers.append(nn.Linear(width, config.gamma_dim + config.beta_dim))
        self.controller = nn.Sequential(*layers)
        self.feature_norm = nn.LayerNorm(hidden_size) if config.normalize_features else nn.Identity()
        self._initialize_minimal()

    def _get_activation(self, activation: str) -> nn.Module:
        known = {"gelu": nn.GELU, "relu": nn.ReLU, "tanh": nn.Tanh, "silu": nn.SiLU}
        if activation not in known:
            raise ValueError(f"unknown activation {activation}")
        return known[activation]()

    def _initialize_minimal(self):
        for module in self.controller:
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight, gain=0.1)
                nn.init.zeros_(module.bias)

    def forward(self, hidden_states: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor, Dict[str, torch.Tensor]]:
        c = self.config
        pooled = self.feature_norm(hidden_states).mean(dim=1)
        raw = self.controller(pooled)
        raw_gamma, raw_beta = raw[:, :c.gamma_dim], raw[:, c.gamma_dim:]
        shift = torch.clamp(c.micro_scale * raw_gamma, -c.clamp_range, c.clamp_range)
        gamma = torch.clamp(1.0 + shift, c.min_gamma, c.max_gamma)
        beta = torch.clamp(torch.clamp(c.micro_scale * raw_beta, -c.clamp_range, c.clamp_range), -c.max_beta, c.max_beta)
        return gamma, beta, {'gamma': gamma, 'beta': beta}


class FeatureWiseModulation(nn.Module):
    """FiLM: Gamma * features + Beta, with the few gammas and betas spread over the channels."""

    def __init__(self, config: ResidualFiLMConfig, hidden_size: int):
        super().__init__()
        self.config = config
        self.hidden_size = hidden_size
        self.gamma_proj = nn.Linear(config.gamma_dim, hidden_size, bias=False)
        self.beta_proj = nn.Linear(config.beta_dim, hidden_size, bias=False)
        nn.init.uniform_(self.gamma_proj.weight, -0.01, 0.01)
        nn.init.uniform_(self.beta_proj.weight, -0.01, 0.01)

    def forward(self, features: torch.Tensor, gamma: torch.Tensor, beta: torch.Tensor) -> torch.Tensor:
        return features + self.compute_delta(features, gamma, beta)

    def compute_delta(self, features: torch.Tensor, gamma: torch.Tensor, beta: torch.Tensor) -> torch.Tensor:
        # gamma is around 1, so it is its distance from 1 that is projected: Gamma = 1 + W (gamma - 1) is around 1 too.
        # Gamma * features + Beta - features would cancel most digits.
        scale_minus_one = self.gamma_proj(gamma - 1.0)
        shift = self.beta_proj(beta)
        return scale_minus_one.unsqueeze(1) * features + shift.unsqueeze(1)


class ResidualFiLMModule(nn.Module):
    """PT4. h + residual_scale * (FiLM(h) - h)."""

    def __init__(self, config: ResidualFiLMConfig, layer_idx: int, hidden_size: int):
        super().__init__()
        self.config = config
        self.layer_idx = layer_idx
        self.hidden_size = hidden_size
        self.controller = MicroModulationController(config, hidden_size)
        self.modulation = FeatureWiseModulation(config, hidden_size)
        self.spectral_gov = SpectralGovernance(max_singular_value=config.clamp_range)
        self.param_protector = ParameterGuard()
        self.residual_scale = nn.Parameter(torch.tensor(config.residual_scale))
        self.register_buffer('modulation_magnitude_ema', torch.tensor(0.0))
        self.register_buffer('output_variance_ema', torch.tensor(1.0))

    def forward(
        self, hidden_states: torch.Tensor, output_attentions: bool = False
    ) -> Tuple[torch.Tensor, Optional[Dict[str, torch.Tensor]]]:
        gamma, beta, control = self.controller(hidden_states)
        delta = self.modulation.compute_delta(hidden_states, gamma, beta)
        delta, spectral_stats = self.spectral_gov.apply_spectral_clamp(delta, f'layer_{self.layer_idx}_film')
        output = hidden_states + self.residual_scale * delta
        if self.training:
            with torch.no_grad():
                self.modulation_magnitude_ema.mul_(0.99).add_(0.01 * delta.abs().mean())
                self.output_variance_ema.mul_(0.99).add_(0.01 * output.var())
        info = None
        if output_attentions:
            info = dict(control)
            info['sigma1'] = spectral_stats['original_sigma1']
        return output, info

    def get_parameter_count(self) -> Dict[str, int]:
        controller = sum(p.numel() for p in self.controller.parameters())
        modulation = sum(p.numel() for p in self.modulation.parameters())
        return {'controller': controller, 'modulation': modulation, 'total': controller + modulation + 1}

    def get_flop_count(self, batch_size: int, seq_len: int) -> Dict[str, int]:
        controller = 2 * batch_size * self.get_parameter_count()['controller']
        modulation = 2 * batch_size * seq_len * self.hidden_size
        return {'controller': controller, 'modulation': modulation, 'total': controller + modulation}

    def get_minimal_overhead_ratio(self) -> float:
        return self.get_parameter_count()['total'] / (12 * self.hidden_size * self.hidden_size)

    def compute_budget_metrics(self, batch_size: int = 32, seq_len: int = 128) -> Dict[str, float]:
        return {
            'total_params': self.get_parameter_count()['total'],
            'total_flops': self.get_flop_count(batch_size, seq_len)['total'],
            'overhead_ratio': self.get_minimal_overhead_ratio(),
        }

    def get_stability_metrics(self) -> Dict[str, float]:
        return {
            'modulation_magnitude': self.modulation_magnitude_ema.item(),
            'output_variance': self.output_variance_ema.item(),
            'residual_scale': self.residual_scale.item(),
        }

    def emergency_stabilize(self):
        """Back to the identity."""
        with torch.no_grad():
            self.residual_scale.fill_(0.0)
            self.modulation_magnitude_ema.zero_()
            self.output_variance_ema.fill_(1.0)
        logger.warning(f"layer {self.layer_idx}: modulation switched off")
