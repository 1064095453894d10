"""Low-rank directions that are added when the safety score asks for it."""

from dataclasses import dataclass
from typing import Dict, Tuple

import torch
import torch.nn as nn


@dataclass
class SafetyBasisConfig:
    hidden_dim: int = 768
    safety_rank: int = 32
    num_layers: int = 12
    orthogonal_penalty: float = 1.0
    gram_schmidt_steps: int = 3
    orthogonal_tolerance: float = 1e-4
    activation_threshold: float = 0.1
    max_activation: float = 1.0
    temperature: float = 1.0
    init_std: float = 0.02
    freeze_basis_epochs: int = 5


class OrthogonalSafetyBasis(nn.Module):
    def __init__(self, config: SafetyBasisConfig):
        super().__init__()
        self.config = config
        shape = (config.num_layers, config.hidden_dim, config.safety_rank)
        self.U = nn.Parameter(config.init_std * torch.randn(*shape))
        self.V = nn.Parameter(config.init_std * torch.randn(*shape))
        self.bias = nn.Parameter(torch.zeros(config.num_layers, config.hidden_dim))
        self.activation = nn.Sequential(nn.Linear(config.hidden_dim, 32), nn.GELU(), nn.Linear(32, 1), nn.Sigmoid())

    def _basis(self, layer_idx: int) -> Tuple[torch.Tensor, torch.Tensor]:
        return torch.linalg.qr(self.U[layer_idx])[0], torch.linalg.qr(self.V[layer_idx])[0]

    def forward(
        self, hidden_states: torch.Tensor, layer_idx: int, safety_score: torch.Tensor, safety_knob: float = 1.0
    ) -> Tuple[torch.Tensor, Dict[str, torch.Tensor]]:
        q_u, q_v = self._basis(layer_idx)
        gate = torch.sigmoid(safety_score / self.config.temperature).reshape(-1, 1, 1)
        gate = gate * self.activation(hidden_states.mean(dim=1, keepdim=True)) * max(0.1, min(1.0, safety_knob))
        response = hidden_states @ q_v @ q_u.T + self.bias[layer_idx]
        return hidden_states + gate * response, {"activation": gate}

    def compute_orthogonality_penalty(self) -> torch.Tensor:
        eye = torch.eye(self.config.safety_rank)
        gram = self.U.transpose(1, 2) @ self.U
        return self.config.orthogonal_penalty * (gram - eye).pow(2).sum()

    def freeze_safety_bases(self, freeze: bool = True) -> None:
        for parameter in (self.U, self.V, self.bias):
            parameter.requires_grad_(not freeze)

    def validate_orthogonality(self) -> Dict[str, float]:
        errors = []
        for layer in range(self.config.num_layers):
            q_u, _ = self._basis(layer)
            errors.append(float((q_u.T @ q_u - torch.eye(q_u.shape[1])).abs().max()))
        return {"max_error": max(errors)}
