"""
PT3: Kronecker @ W_down

The update of W_down is a projection of a Kronecker product: P (U (x) V) x. The product itself is never made.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from typing import Dict, List, Optional, Tuple
from dataclasses import dataclass
import math
import logging

from ..security.parameter_protection import ParameterGuard
try:
    from bem_legacy.modules.governance import SpectralGovernance
except ImportError:
    from src.bem_legacy.modules.governance import SpectralGovernance

logger = logging.getLogger(__name__)


@dataclass
class KroneckerConfig:
    """Configuration for the Kronecker factors."""
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
    """(U (x) V) x, by a CUDA kernel where there is one."""

    def __init__(self, config: KroneckerConfig):
        super().__init__()
        self.config = config
        self.use_fused = False
        self.cuda_forward = None
        self.cuda_backward = None
        if config.use_fused_kernel and torch.cuda.is_available():
            try:
                from bem.kernels.cuda_ops import kronecker_product_forward, kronecker_product_backward

                self.cuda_forward = kronecker_product_forward
                self.cuda_backward = kronecker_product_backward
                self.use_fused = True
            except ImportError:
                logger.info("no fused kernel, using PyTorch")

    def forward(self, x: torch.Tensor, U: torch.Tensor, V: torch.Tensor) -> torch.Tensor:
        """x [B, S, u_dim * v_dim], U [u_rank, u_dim], V [v_rank, v_dim] -> [B, S, u_rank * v_rank]"""
        if self.use_fused and x.is_cuda:
            return self._fused_forward(x, U, V)
        return self._pytorch_forward(x, U, V)

    def _fused_forward(self, x: torch.Tensor, U: torch.Tensor, V: torch.Tensor) -> torch.Tensor:
        return self.cuda_forward(x, U, V)

    def _pytorch_forward(self, x: torch.Tensor, U: torch.Tensor, V: torch.Tensor) -> torch.Tensor:
        if self.config.memory_efficient:
            # vec(U X V^T) = (U (x) V) vec(X), row-major
            batch_size, seq_len, _ = x.shape
            blocks = x.reshape(batch_size, seq_len, U.shape[1], V.shape[1])
            return torch.matmul(torch.matmul(U, blocks), V.t()).reshape(batch_size, seq_len, -1)
        return F.linear(x, torch.kron(U, V))


class KroneckerFactorization(nn.Module):
    """The two factors and what keeps them well-behaved."""

    def __init__(self, config: KroneckerConfig):
        super().__init__()
        self.config = config
        self.U = nn.Parameter(torch.empty(config.u_rank, config.u_dim))
        self.V = nn.Parameter(torch.empty(config.v_rank, config.v_dim))
        self.fused_op = FusedKroneckerOp(config)
        self.register_buffer('u_orthogonality', torch.tensor(0.0))
        self.register_buffer('v_orthogonality', torch.tensor(0.0))
        self.register_buffer('factor_diversity', torch.tensor(0.0))
        self._initialize_factors()

    def _initialize_factors(self):
        config = self.config
        if config.init_method == "svd":
            # the factors of a random matrix
            if max(config.u_rank, config.v_rank) > min(config.u_dim, config.v_dim):
                raise ValueError("svd: u_rank and v_rank must not be greater than u_dim and v_dim")
            u, _, vh = torch.linalg.svd(torch.randn(config.u_dim, config.v_dim), full_matrices=False)
            U, V = u[:, :config.u_rank].t(), vh[:config.v_rank]
        elif config.init_method == "orthogonal":
            U = nn.init.orthogonal_(torch.empty(config.u_rank, config.u_dim))
            V = nn.init.orthogonal_(torch.empty(config.v_rank, config.v_dim))
        else:
            U = torch.randn(config.u_rank, config.u_dim)
            V = torch.randn(config.v_rank, config.v_dim)
        with torch.no_grad():
            self.U.copy_(F.normalize(U, dim=1) * config.init_scale)
            self.V.copy_(F.normalize(V, dim=1) * config.init_scale)

    def forward(self, x: torch.Tensor) -> Tuple[torch.Tensor, Dict[str, torch.Tensor]]:
        return self.fused_op(x, self.U, self.V), self._compute_regularization_metrics()

    def _compute_regularization_metrics(self) -> Dict[str, torch.Tensor]:
        gram_u = torch.matmul(self.U, self.U.t())
        gram_v = torch.matmul(self.V, self.V.t())
        u_loss = torch.sum((gram_u - torch.eye(self.config.u_rank, device=self.U.device)) ** 2)
        v_loss = torch.sum((gram_v - torch.eye(self.config.v_rank, device=self.V.device)) ** 2)
        diversity = -self.U.var(dim=1).sum() - self.V.var(dim=1).sum()
        with torch.no_grad():
            self.u_orthogonality.copy_(u_loss)
            self.v_orthogonality.copy_(v_loss)
            self.factor_diversity.copy_(diversity)
        return {
            'orthogonal_reg': self.config.orthogonal_reg * (u_loss + v_loss),
            'diversity_reg': self.config.diversity_reg * diversity,
        }

    def get_effective_rank(self) -> Tuple[float, float]:
        ranks = []
        for factor in (self.U, self.V):
            values = torch.linalg.svdvals(factor.detach())
            shares = values / values.sum()
            ranks.append(torch.exp(-(shares * torch.log(shares + 1e-12)).sum()).item())
        return ranks[0], ranks[1]


class KroneckerModule(nn.Module):
    """PT3. hidden_states + P (U (x) V) intermediate_states."""

    def __init__(self, config: KroneckerConfig, layer_idx: int, hidden_size: int, intermediate_size: int):
        super().__init__()
        if config.u_dim * config.v_dim != intermediate_size:
            raise ValueError(
                f"u_dim * v_dim ({config.u_dim} * {config.v_dim}) must equal intermediate_size ({intermediate_size})"
            )
        if config.u_rank * config.v_rank > hidden_size:
            raise ValueError(
                f"u_rank * v_rank ({config.u_rank} * {config.v_rank}) must not exceed hidden_size ({hidden_size})"
            )
        self.config = config
        self.layer_idx = layer_idx
        self.hidden_size = hidden_size
        self.intermediate_size = intermediate_size
        self.kronecker = KroneckerFactorization(config)
        self.output_projection = nn.Linear(config.u_rank * config.v_rank, hidden_size, bias=False)
        self.spectral_gov = SpectralGovernance(max_singular_value=config.max_singular_value)
        self.param_protector = ParameterGuard()

    def forward(
        self, hidden_states: torch.Tensor, intermediate_states: torch.Tensor, output_attentions: bool = False
    ) -> Tuple[torch.Tensor, Optional[Dict[str, torch.Tensor]]]:
        reduced, reg_metrics = self.kronecker(intermediate_states)
        delta = self.output_projection(reduced)
        delta, spectral_stats = self.spectral_gov.apply_spectral_clamp(delta, f'layer_{self.layer_idx}_w_down')
        output = hidden_states + delta
        info = None
        if output_attentions:
            info = dict(reg_metrics)
            info['sigma1'] = spectral_stats['original_sigma1']
            info['condition_number'] = spectral_stats['condition_number']
        return output, info

    def get_parameter_count(self) -> Dict[str, int]:
        factors = self.kronecker.U.numel() + self.kronecker.V.numel()
        projection = self.output_projection.weight.numel()
        return {'factors': factors, 'output_projection': projection, 'total': factors + projection}

    def get_flop_count(self, batch_size: int, seq_len: int) -> Dict[str, int]:
        c, tokens = self.config, batch_size * seq_len
        factors = 2 * tokens * (c.u_rank * c.u_dim * c.v_dim + c.u_rank * c.v_dim * c.v_rank)
        projection = 2 * tokens * c.u_rank * c.v_rank * self.hidden_size
        return {'factors': factors, 'output_projection': projection, 'total': factors + projection}

    def get_compression_metrics(self) -> Dict[str, float]:
        full = self.hidden_size * self.intermediate_size
        total = self.get_parameter_count()['total']
        u_rank, v_rank = self.kronecker.get_effective_rank()
        return {
            'compression_ratio': full / total,
            'effective_u_rank': u_rank,
            'effective_v_rank': v_rank,
            'log_compression': math.log(full / total),
        }

    def compute_budget_metrics(self, batch_size: int = 32, seq_len: int = 128) -> Dict[str, float]:
        metrics = {
            'total_params': self.get_parameter_count()['total'],
            'total_flops': self.get_flop_count(batch_size, seq_len)['total'],
        }
        metrics.update(self.get_compression_metrics())
        return metrics
