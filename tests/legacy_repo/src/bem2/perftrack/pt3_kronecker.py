"""PT3: a Kronecker-factored update."""

import logging
from dataclasses import dataclass
from typing import Dict, Tuple

import torch
import torch.nn as nn

from ..security.parameter_protection import ParameterProtector
from bem.modules.governance import SpectralGovernance

logger = logging.getLogger(__name__)


@dataclass
class KroneckerConfig:
    u_rank: int = 8
    v_rank: int = 8
    u_dim: int = 64
    v_dim: int = 64
    use_fused_kernel: bool = True
    block_size: int = 128
    memory_efficient: bool = True
    init_method: str = "svd"
    init_scale: float = 0.1
    orthogonal_reg: float = 0.01
    diversity_reg: float = 0.001
    max_singular_value: float = 1.0
    fro_budget: float = 0.8
    attachment_site: str = "W_down"
    budget_tolerance: float = 0.05


class FusedKroneckerOp(nn.Module):
    def __init__(self, config: KroneckerConfig):
        super().__init__()
        self.config = config
        self.fused = None
        if config.use_fused_kernel:
            try:
                from bem.kernels.cuda_ops import kronecker_product_forward, kronecker_product_backward

                self.fused = (kronecker_product_forward, kronecker_product_backward)
            except ImportError:
                logger.info("no fused kernel")

    def forward(self, x: torch.Tensor, U: torch.Tensor, V: torch.Tensor) -> torch.Tensor:
        blocks = x.reshape(*x.shape[:-1], U.shape[1], V.shape[1])
        return (U @ blocks @ V.transpose(-1, -2)).flatten(-2)


class KroneckerFactorization(nn.Module):
    def __init__(self, config: KroneckerConfig):
        super().__init__()
        self.config, self.op = config, FusedKroneckerOp(config)
        self.U = nn.Parameter(self._rows(config.u_rank, config.u_dim, config.init_scale))
        self.V = nn.Parameter(self._rows(config.v_rank, config.v_dim, config.init_scale))

    @staticmethod
    def _rows(rank: int, dim: int, scale: float) -> torch.Tensor:
        return scale * nn.functional.normalize(torch.randn(rank, dim), dim=-1)

    def forward(self, x: torch.Tensor) -> Tuple[torch.Tensor, Dict[str, torch.Tensor]]:
        gram = self.U @ self.U.T - torch.eye(self.config.u_rank)
        return self.op(x, self.U, self.V), {"orthogonal_loss": self.config.orthogonal_reg * gram.pow(2).sum()}


class KroneckerModule(nn.Module):
    def __init__(self, config: KroneckerConfig, layer_idx: int, hidden_size: int, intermediate_size: int):
        super().__init__()
        if config.u_dim * config.v_dim != intermediate_size:
            raise ValueError("u_dim * v_dim must equal intermediate_size")
        self.config, self.layer_idx, self.guard = config, layer_idx, ParameterProtector()
        self.kronecker = KroneckerFactorization(config)
        self.output_projection = nn.Linear(config.u_rank * config.v_rank, hidden_size, bias=False)
        self.governance = SpectralGovernance(config.max_singular_value)

    def forward(self, hidden_states: torch.Tensor, intermediate_states: torch.Tensor, output_attentions=False):
        reduced, info = self.kronecker(intermediate_states)
        clamped, stats = self.governance.apply_spectral_clamp(self.output_projection(reduced))
        return hidden_states + clamped, {**info, **stats}
