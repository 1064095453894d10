"""PT4: scales and shifts of each channel, near the identity, from a small controller.

``h + s (G * h + B)``: FiLM (Perez et al., https://arxiv.org/abs/1709.07871, equation 1) as a residual, with
``G = W_g (gamma - 1)`` and ``B = W_b beta``. Shapes: K gammas or betas; the others as in `adapter`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from bem2.perftrack.adapter import Adapter, Site, pool
from bem2.perftrack.spectral import limit
from bem_core.config.schema import Momentum, NonNegative, Positive, PositiveFloat

_ACTIVATIONS = {"gelu": nn.GELU, "relu": nn.ReLU, "tanh": nn.Tanh, "silu": nn.SiLU}


@dataclass(frozen=True, kw_only=True)
class ResidualFiLMConfig:
    """Settings of PT4.

    Attributes:
        gamma_dim: Number of gammas.
        beta_dim: Number of betas.
        controller_dim: Width of the controller.
        micro_scale: What the outputs of the controller are multiplied with.
        clamp_range: How far a gamma may be from 1, and a beta from 0; and bound of the spectral norm of the scales.
        residual_scale: s at the beginning.
        normalize_features: Whether the controller sees normalised hidden states.
        max_gamma: Greatest gamma.
        min_gamma: Least gamma.
        max_beta: How far a beta may be from 0.
    """

    gamma_dim: Positive = 16
    beta_dim: Positive = 16
    controller_dim: Positive = 32
    micro_scale: PositiveFloat = 0.01
    clamp_range: PositiveFloat = 0.1
    residual_scale: float = 0.1
    controller_layers: Positive = 2
    controller_activation: Literal["gelu", "relu", "tanh", "silu"] = "gelu"
    controller_dropout: Momentum = 0.05
    normalize_features: bool = True
    max_gamma: PositiveFloat = 1.2
    min_gamma: NonNegative = 0.8
    max_beta: PositiveFloat = 0.1


class MicroModulationController(nn.Module):
    """Computes gammas near 1 and betas near 0 from hidden states."""

    def __init__(self, config: ResidualFiLMConfig, site: Site) -> None:
        super().__init__()
        self.config, self.pooling = config, site.pooling
        layers: list[nn.Module] = []
        width = site.out_features
        for _ in range(config.controller_layers - 1):
            layers += [nn.Linear(width, config.controller_dim), nn.LayerNorm(config.controller_dim)]
            layers += [_ACTIVATIONS[config.controller_activation](), nn.Dropout(config.controller_dropout)]
            width = config.controller_dim
        self.controller = nn.Sequential(*layers, nn.Linear(width, config.gamma_dim + config.beta_dim))
        self.feature_norm = nn.LayerNorm(site.out_features) if config.normalize_features else nn.Identity()
        for module in self.controller:
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight, gain=0.1)
                nn.init.zeros_(module.bias)

    def forward(self, hidden_BLD: Tensor) -> tuple[Tensor, Tensor]:
        """Return gammas and betas, ``(B, P, K)`` each."""
        config, bound = self.config, self.config.clamp_range
        raw = self.controller(pool(self.feature_norm(hidden_BLD), self.pooling))
        shift = torch.clamp(config.micro_scale * raw[..., : config.gamma_dim], -bound, bound)
        gamma = torch.clamp(1.0 + shift, config.min_gamma, config.max_gamma)
        beta = torch.clamp(config.micro_scale * raw[..., config.gamma_dim :], -bound, bound)
        return gamma, torch.clamp(beta, -config.max_beta, config.max_beta)


class FeatureWiseModulation(nn.Module):
    """Spreads the few gammas and betas over the channels."""

    def __init__(self, config: ResidualFiLMConfig, hidden_size: int) -> None:
        super().__init__()
        self.gamma_proj = nn.Linear(config.gamma_dim, hidden_size, bias=False)
        self.beta_proj = nn.Linear(config.beta_dim, hidden_size, bias=False)
        nn.init.uniform_(self.gamma_proj.weight, -0.01, 0.01)
        nn.init.uniform_(self.beta_proj.weight, -0.01, 0.01)

    def forward(self, gamma_BPK: Tensor, beta_BPK: Tensor) -> tuple[Tensor, Tensor]:
        """Return how far the scale of each channel is from 1, and its shift, ``(B, P, D)`` each."""
        return self.gamma_proj(gamma_BPK - 1.0), self.beta_proj(beta_BPK)


class ResidualFiLMModule(Adapter):
    """The adapter of PT4.

    A scaling of channels is a diagonal map, whose spectral norm is its largest entry: no iteration is needed.
    """

    loss_weights: ClassVar[dict[str, float]] = {"film_gamma_shift": 0.1, "film_beta": 0.1}

    def __init__(self, config: ResidualFiLMConfig, site: Site) -> None:
        super().__init__()
        self.config, self.site = config, site
        self.controller = MicroModulationController(config, site)
        self.modulation = FeatureWiseModulation(config, site.out_features)
        self.residual_scale = nn.Parameter(torch.tensor(config.residual_scale))

    @classmethod
    def problems(cls, config: ResidualFiLMConfig, site: Site) -> dict[str, str]:
        """Return what does not fit the site."""
        if config.min_gamma <= 1.0 <= config.max_gamma:
            return {}
        return {"min_gamma": "expected 1 to be between min_gamma and max_gamma, or it does not start at the identity"}

    def delta(self, hidden_BLD: Tensor, input_BLI: Tensor) -> Tensor:
        """Return what scales and shifts change."""
        gamma, beta = self.controller(hidden_BLD)
        self.terms = {"film_gamma_shift": torch.abs(gamma - 1.0), "film_beta": torch.abs(beta)}
        scales, shifts = self.modulation(gamma, beta)
        scales = scales * limit(scales.abs().amax(dim=-1, keepdim=True), self.config.clamp_range)
        return self.residual_scale * (scales * hidden_BLD + shifts)  # type: ignore[no-any-return]
