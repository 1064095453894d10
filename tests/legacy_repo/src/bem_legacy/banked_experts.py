"""Phase 5: a bank of low-rank experts with top-k gating."""

from dataclasses import dataclass
from typing import Optional

import torch
import torch.nn as nn


@dataclass
class BankedExpertsConfig:
    num_experts: int = 4
    top_k: int = 2
    rank: int = 4


class BankedExpertsModule(nn.Module):
    def __init__(self, hidden_size: int, config: Optional[BankedExpertsConfig] = None):
        super().__init__()
        self.config = config or BankedExpertsConfig()
        count, rank = self.config.num_experts, self.config.rank
        self.gate = nn.Linear(hidden_size, count)
        self.down = nn.Parameter(torch.randn(count, hidden_size, rank) * 0.02)
        self.up = nn.Parameter(torch.zeros(count, rank, hidden_size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights, chosen = torch.softmax(self.gate(x), dim=-1).topk(self.config.top_k, dim=-1)
        updates = torch.einsum("bsd,edr,erh->bseh", x, self.down, self.up)
        index = chosen.unsqueeze(-1).expand(*chosen.shape, x.shape[-1])
        return x + (updates.gather(2, index) * weights.unsqueeze(-1)).sum(dim=2)


def create_default_banked_experts_config() -> BankedExpertsConfig:
    return BankedExpertsConfig()


def create_banked_experts_module(hidden_size: int, **kwargs) -> BankedExpertsModule:
    return BankedExpertsModule(hidden_size, BankedExpertsConfig(**kwargs))
