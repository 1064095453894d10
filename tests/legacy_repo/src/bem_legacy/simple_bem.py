"""Phase 1: one controller, one low-rank delta."""

from typing import Dict

import torch
import torch.nn as nn


class BEMController(nn.Module):
    def __init__(self, input_dim: int, code_dim: int = 8):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(input_dim, input_dim), nn.GELU(), nn.Linear(input_dim, code_dim))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.net(features)


class SimpleBEMModule(nn.Module):
    def __init__(self, base_layer: nn.Linear, rank: int = 8, alpha: float = 16.0):
        super().__init__()
        self.base_layer, self.scale = base_layer, alpha / rank
        self.lora_U = nn.Parameter(torch.zeros(base_layer.out_features, rank))
        self.lora_V = nn.Parameter(torch.randn(rank, base_layer.in_features) * 0.02)

    def forward(self, x: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
        return self.base_layer(x) + self.scale * (x @ self.lora_V.T * code) @ self.lora_U.T


def compute_effective_rank(codes: torch.Tensor) -> float:
    """Exponential of the entropy of the normalised singular values."""
    p = torch.linalg.svdvals(codes)
    p = p / p.sum().clamp_min(1e-12)
    return float(torch.exp(-(p * p.clamp_min(1e-12).log()).sum()))


def analyze_code_distribution(codes: torch.Tensor) -> Dict[str, float]:
    return {"mean": float(codes.mean()), "std": float(codes.std()), "effective_rank": compute_effective_rank(codes)}
