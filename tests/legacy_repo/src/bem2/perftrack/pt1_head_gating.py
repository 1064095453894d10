"""PT1: gates over groups of heads."""

import logging
from dataclasses import dataclass
from typing import Dict

import torch
import torch.nn as nn

from ..security.parameter_protection import ParameterProtector
from bem.modules.governance import SpectralGovernance

logger = logging.getLogger(__name__)


@dataclass
class HeadGroupGatingConfig:
    num_groups: int = 4
    heads_per_group: int = 2
    rank_per_group: int = 2
    gate_temperature: float = 1.0
    gate_dropout: float = 0.1
    decorrelation_strength: float = 0.1
    use_attention_stats: bool = True
    attention_stat_dim: int = 16
    use_retrieval_quality: bool = True
    retrieval_quality_dim: int = 8
    max_singular_value: float = 1.0
    fro_budget: float = 0.8
    budget_tolerance: float = 0.05


class AttentionGateController(nn.Module):
    def __init__(self, config: HeadGroupGatingConfig, hidden_size: int):
        super().__init__()
        self.config = config
        self.net = nn.Sequential(
            nn.Linear(hidden_size, config.attention_stat_dim),
            nn.GELU(),
            nn.Dropout(config.gate_dropout),
            nn.Linear(config.attention_stat_dim, config.num_groups),
        )

    def compute_gates(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.net(hidden_states.mean(dim=1)) / self.config.gate_temperature, dim=-1)


class HeadGroupGatingModule(nn.Module):
    def __init__(self, config: HeadGroupGatingConfig, layer_idx: int, hidden_size: int, num_attention_heads: int):
        super().__init__()
        if num_attention_heads % config.num_groups:
            raise ValueError("num_attention_heads must be a multiple of num_groups")
        self.config, self.layer_idx, self.guard = config, layer_idx, ParameterProtector()
        self.gate_controller = AttentionGateController(config, hidden_size)
        shape = (config.num_groups, config.rank_per_group, hidden_size)
        self.down = nn.Parameter(torch.randn(*shape) / hidden_size**0.5)
        self.up = nn.Parameter(torch.zeros(*shape))
        self.governance = SpectralGovernance(config.max_singular_value)

    def forward(self, hidden_states: torch.Tensor, attention_weights=None, retrieval_context=None):
        gates = self.gate_controller.compute_gates(hidden_states)
        delta = torch.einsum("bsd,grd,gre,bg->bse", hidden_states, self.down, self.up, gates)
        clamped, stats = self.governance.apply_spectral_clamp(delta)
        return hidden_states + clamped, {"gates": gates, **stats}

    def get_parameter_count(self) -> Dict[str, int]:
        return {"total": sum(p.numel() for p in self.parameters())}
