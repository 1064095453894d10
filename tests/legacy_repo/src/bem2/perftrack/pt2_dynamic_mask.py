"""
PT2: Dynamic Rank Mask

A low-rank update whose ranks are switched on and off for each instance: k of r are active. The active ones are
mixed by a Hadamard transform.
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
class DynamicRankMaskConfig:
    """Configuration for the dynamic rank mask."""
    total_rank: int = 16
    active_rank: int = 8
    mask_temperature: float = 0.1
    use_hadamard_path: bool = True
    hadamard_dim: int = 16
    use_instance_adaptive: bool = True
    adaptation_dim: int = 32
    mask_learning_rate: float = 0.001
    mask_momentum: float = 0.9
    straight_through: bool = True
    max_singular_value: float = 1.0
    fro_budget: float = 0.8
    budget_tolerance: float = 0.05
    target_sparsity: float = 0.5


class FastHadamardTransform(nn.Module):
    """Orthonormal Walsh-Hadamard transform of the last dimension, which is padded with zeros to `dim`."""

    def __init__(self, dim: int):
        super().__init__()
        if dim < 1 or dim & (dim - 1):
            raise ValueError(f"dim must be a power of 2, got {dim}")
        self.dim = dim
        self.register_buffer('hadamard_matrix', self._generate_hadamard_matrix(dim))

    def _generate_hadamard_matrix(self, n: int) -> torch.Tensor:
        matrix = torch.ones(1, 1)
        while matrix.shape[0] < n:
            matrix = torch.cat([torch.cat([matrix, matrix], dim=1), torch.cat([matrix, -matrix], dim=1)], dim=0)
        # once, at the end: at every level it would not be orthonormal
        return matrix / math.sqrt(n)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        width = x.shape[-1]
        if width < self.dim:
            x = F.pad(x, (0, self.dim - width))
        return torch.matmul(x, self.hadamard_matrix)[..., :width]


class InstanceAdaptiveController(nn.Module):
    """Chooses the active ranks from the hidden states."""

    def __init__(self, config: DynamicRankMaskConfig, hidden_size: int):
        super().__init__()
        self.config = config
        self.adaptation_net = nn.Sequential(
            nn.Linear(hidden_size, config.adaptation_dim),
            nn.LayerNorm(config.adaptation_dim),
            nn.ReLU(),
            nn.Linear(config.adaptation_dim, config.total_rank),
        )
        self.mask_logits = nn.Parameter(torch.zeros(config.total_rank))
        self.ema_momentum = config.mask_momentum
        self.register_buffer('mask_ema', torch.ones(config.total_rank) / config.total_rank)

    def compute_instance_mask(
        self, hidden_states: torch.Tensor, training: bool = True
    ) -> Tuple[torch.Tensor, Dict[str, torch.Tensor]]:
        """hidden_states [B, S, D] -> mask [B, total_rank], active_rank ones in each row"""
        if self.config.use_instance_adaptive:
            logits = self.adaptation_net(hidden_states.mean(dim=1)) + self.mask_logits
        else:
            logits = self.mask_logits.expand(hidden_states.shape[0], -1)

        if training:
            uniform = torch.rand_like(logits)
            logits = logits - torch.log(-torch.log(uniform + 1e-8) + 1e-8)
        chosen = torch.topk(logits, self.config.active_rank, dim=-1).indices
        hard = torch.zeros_like(logits).scatter(-1, chosen, 1.0)
        soft = F.softmax(logits / self.config.mask_temperature, dim=-1)
        if training and self.config.straight_through:
            # the noise that chose the ranks is in the soft mask too, so the gradient is that of the choice
            mask = hard + (soft - soft.detach())
        else:
            mask = hard

        if training:
            # without the graph, which the backward pass of this step frees
            mean = hard.mean(dim=0)
            self.mask_ema = self.ema_momentum * self.mask_ema + (1 - self.ema_momentum) * mean

        entropy = -(soft * torch.log(soft + 1e-8)).sum(dim=-1).mean()
        sparsity = 1.0 - mask.mean()
        return mask, {'mask': mask, 'mask_entropy': entropy, 'sparsity': sparsity, 'mask_logits': logits}


class SparseMaskController(nn.Module):
    """Applies mask, scales and Hadamard transform to the rank activations."""

    def __init__(self, config: DynamicRankMaskConfig, hidden_size: int):
        super().__init__()
        self.config = config
        self.instance_controller = InstanceAdaptiveController(config, hidden_size)
        self.rank_scales = nn.Parameter(torch.ones(config.total_rank))
        self.hadamard_dim = max(config.hadamard_dim, 2 ** math.ceil(math.log2(config.total_rank)))
        self.hadamard_transform = FastHadamardTransform(self.hadamard_dim) if config.use_hadamard_path else None

    def apply_sparse_mask(
        self, rank_activations: torch.Tensor, hidden_states: torch.Tensor
    ) -> Tuple[torch.Tensor, Dict[str, torch.Tensor]]:
        mask, info = self.instance_controller.compute_instance_mask(hidden_states, self.training)
        masked = rank_activations * mask.unsqueeze(1) * self.rank_scales
        if self.hadamard_transform is not None:
            masked = self.hadamard_transform(masked)
        return masked, info


class DynamicRankMaskModule(nn.Module):
    """PT2. h + V(Hadamard(mask * U h))."""

    def __init__(self, config: DynamicRankMaskConfig, layer_idx: int, hidden_size: int):
        super().__init__()
        self.config = config
        self.layer_idx = layer_idx
        self.hidden_size = hidden_size
        self.U = nn.Linear(hidden_size, config.total_rank, bias=False)
        self.V = nn.Linear(config.total_rank, hidden_size, bias=False)
        self.mask_controller = SparseMaskController(config, hidden_size)
        self.spectral_gov = SpectralGovernance(max_singular_value=config.max_singular_value)
        self.param_protector = ParameterGuard()
        self.register_buffer('flop_count', torch.tensor(0, dtype=torch.long))
        self.register_buffer('param_count', torch.tensor(0, dtype=torch.long))
        self._initialize_parameters()

    def _initialize_parameters(self):
        nn.init.orthogonal_(self.U.weight)
        # sqrt(2 / sparsity) makes up for the ranks that are off; a twentieth of it starts near the identity
        nn.init.xavier_uniform_(self.V.weight, gain=0.05 * math.sqrt(2.0 / self.config.target_sparsity))
        self.param_count.fill_(sum(p.numel() for p in self.parameters()))

    def forward(
        self, hidden_states: torch.Tensor, output_attentions: bool = False
    ) -> Tuple[torch.Tensor, Optional[Dict[str, torch.Tensor]]]:
        batch_size, seq_len, _ = hidden_states.shape
        activations = self.U(hidden_states)
        masked, mask_info = self.mask_controller.apply_sparse_mask(activations, hidden_states)
        delta = self.V(masked)
        delta, spectral_stats = self.spectral_gov.apply_spectral_clamp(delta, f'layer_{self.layer_idx}')
        output = hidden_states + delta

        info = None
        if output_attentions:
            info = dict(mask_info)
            info['sigma1'] = spectral_stats['original_sigma1']
        if self.training:
            self.flop_count.add_(self._compute_flops(batch_size, seq_len, self.config.target_sparsity))
        return output, info

    def _compute_flops(self, batch_size: int, seq_len: int, sparsity: float) -> int:
        tokens = batch_size * seq_len
        dense = 2 * tokens * self.hidden_size * self.config.total_rank
        sparse = dense * (1.0 - sparsity)
        hadamard = tokens * self.mask_controller.hadamard_dim * math.log2(max(self.mask_controller.hadamard_dim, 2))
        return int(dense + sparse + hadamard)

    def get_parameter_count(self) -> Dict[str, int]:
        low_rank = self.U.weight.numel() + self.V.weight.numel()
        mask = sum(p.numel() for p in self.mask_controller.parameters())
        return {'low_rank': low_rank, 'mask_controller': mask, 'total': low_rank + mask}

    def get_effective_rank(self) -> float:
        return self.mask_controller.instance_controller.mask_ema.sum().item()

    def compute_budget_metrics(self, batch_size: int = 32, seq_len: int = 128) -> Dict[str, float]:
        return {
            'total_params': self.get_parameter_count()['total'],
            'total_flops': self._compute_flops(batch_size, seq_len, self.config.target_sparsity),
            'effective_rank': self.get_effective_rank(),
        }

    def get_mask_statistics(self) -> Dict[str, float]:
        ema = self.mask_controller.instance_controller.mask_ema
        return {'mask_mean': ema.mean().item(), 'mask_std': ema.std().item(), 'mask_max': ema.max().item()}
