"""PT2: a mask over the ranks, chosen per instance."""

import logging
from dataclasses import dataclass
from typing import Dict

import torch
import torch.nn as nn

from ..security.parameter_protection import ParameterProtector
from bem.modules.governance import SpectralGovernance

logger = logging.getLogger(__name__)


@dataclass
class DynamicRankMaskConfig:
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
    def __init__(self, dim: int):
        super().__init__()
        matrix = torch.ones(1, 1)
        while matrix.shape[0] < dim:
            matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
        self.register_buffer("matrix", matrix / matrix.shape[0] ** 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        padded = nn.functional.pad(x, (0, self.matrix.shape[0] - x.shape[-1]))
        return (padded @ self.matrix)[..., : x.shape[-1]]


class SparseMaskController(nn.Module):
    def __init__(self, config: DynamicRankMaskConfig, hidden_size: int):
        super().__init__()
        self.config = config
        self.net = nn.Sequential(
            nn.Linear(hidden_size, config.adaptation_dim), nn.GELU(), nn.Linear(config.adaptation_dim, config.total_rank)
        )

    def apply_sparse_mask(self, rank_activations: torch.Tensor, hidden_states: torch.Tensor):
        logits = self.net(hidden_states.mean(dim=1))
        soft = torch.softmax(logits / self.config.mask_temperature, dim=-1)
        hard = torch.zeros_like(soft).scatter(-1, logits.topk(self.config.active_rank, dim=-1).indices, 1.0)
        mask = hard + soft - soft.detach()
        return rank_activations * mask.unsqueeze(1), {"mask": mask}


class DynamicRankMaskModule(nn.Module):
    def __init__(self, config: DynamicRankMaskConfig, layer_idx: int, hidden_size: int):
        super().__init__()
        self.config, self.layer_idx, self.guard = config, layer_idx, ParameterProtector()
        self.U = nn.Linear(hidden_size, config.total_rank, bias=False)
        self.V = nn.Linear(config.total_rank, hidden_size, bias=False)
        self.mask_controller = SparseMaskController(config, hidden_size)
        self.hadamard = FastHadamardTransform(config.hadamard_dim)
        self.governance = SpectralGovernance(config.max_singular_value)

    def forward(self, hidden_states: torch.Tensor, output_attentions: bool = False):
        masked, info = self.mask_controller.apply_sparse_mask(self.U(hidden_states), hidden_states)
        clamped, stats = self.governance.apply_spectral_clamp(self.V(self.hadamard(masked)))
        return hidden_states + clamped, {**info, **stats}

    def get_parameter_count(self) -> Dict[str, int]:
        return {"total": sum(p.numel() for p in self.parameters())}
