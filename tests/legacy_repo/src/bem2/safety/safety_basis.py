"""
Orthogonal safety basis (VC0).

Per layer l a pair of orthonormal bases U_l, V_l of shape [D, r]: hidden states are read along V, mixed, and written
back along U, scaled by an activation that depends on the hidden states, the constitutional score and the safety knob.
The penalty keeps the written subspaces of different layers apart: ||B^T B - I||_F^2 with B = [U_1 ... U_L].
"""

import logging
from dataclasses import dataclass
from typing import Dict, Tuple

import torch
import torch.nn as nn
from torch.nn.utils.parametrizations import orthogonal

logger = logging.getLogger(__name__)


@dataclass
class SafetyBasisConfig:
    """Configuration of the basis."""

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
        self.safety_bases = nn.ModuleList([self._create_safety_basis(i) for i in range(config.num_layers)])
        gate_dim = max(1, config.hidden_dim // 4)
        self.activation_gate = nn.Sequential(
            nn.Linear(config.hidden_dim, gate_dim),
            nn.ReLU(),
            nn.Linear(gate_dim, 1),
            nn.Sigmoid(),
        )
        self.safety_response_generator = nn.ModuleList(
            [nn.Linear(config.safety_rank, config.safety_rank, bias=False) for _ in range(config.num_layers)]
        )
        self.register_buffer("orthogonality_violations", torch.tensor(0.0))
        self.register_buffer("activation_history", torch.zeros(100))
        self.register_buffer("history_pointer", torch.tensor(0))
        self._initialize_parameters()

    def _create_safety_basis(self, layer_idx: int) -> nn.Module:
        basis = nn.Module()
        shape = (self.config.hidden_dim, self.config.safety_rank)
        basis.U = nn.Parameter(self.config.init_std * torch.randn(*shape))
        basis.V = nn.Parameter(self.config.init_std * torch.randn(*shape))
        basis.bias = nn.Parameter(torch.zeros(self.config.hidden_dim))
        # Was an in-place Gram-Schmidt at each forward, which autograd cannot go back through.
        orthogonal(basis, "U", "householder", use_trivialization=False)
        orthogonal(basis, "V", "householder", use_trivialization=False)
        return basis

    def forward(
        self, hidden_states: torch.Tensor, layer_idx: int, safety_score: torch.Tensor, safety_knob: float = 1.0
    ) -> Tuple[torch.Tensor, Dict[str, torch.Tensor]]:
        basis = self.safety_bases[layer_idx]
        activation_strength = self._compute_activation_strength(hidden_states, safety_score, safety_knob)
        safety_response = self._generate_safety_response(hidden_states, basis, layer_idx)
        transformed = hidden_states + activation_strength * safety_response
        telemetry = self._compute_telemetry(basis.U, activation_strength, safety_score)
        if self.training:
            self._update_activation_history(float(activation_strength.detach().mean()))
        return transformed, telemetry

    def _compute_activation_strength(
        self, hidden_states: torch.Tensor, safety_score: torch.Tensor, safety_knob: float
    ) -> torch.Tensor:
        gate = self.activation_gate(hidden_states.mean(dim=1))
        score = torch.sigmoid(safety_score / self.config.temperature).unsqueeze(-1)
        knob = torch.clamp(
            torch.as_tensor(safety_knob), self.config.activation_threshold, self.config.max_activation
        )
        return (gate * score * knob).unsqueeze(1)

    def _generate_safety_response(
        self, hidden_states: torch.Tensor, safety_basis: nn.Module, layer_idx: int
    ) -> torch.Tensor:
        coordinates = hidden_states @ safety_basis.V
        mixed = self.safety_response_generator[layer_idx](coordinates)
        return mixed @ safety_basis.U.T + safety_basis.bias

    def _compute_telemetry(
        self, safety_basis: torch.Tensor, activation_strength: torch.Tensor, safety_score: torch.Tensor
    ) -> Dict[str, torch.Tensor]:
        basis = safety_basis.detach()
        error = (basis.T @ basis - torch.eye(basis.shape[1])).abs().max()
        return {
            "activation_strength": activation_strength.detach().mean(),
            "orthogonality_error": error,
            "safety_score": safety_score.detach().mean(),
        }

    def _update_activation_history(self, activation_value: float):
        pointer = int(self.history_pointer)
        self.activation_history[pointer % 100] = activation_value
        # Assigning an int to a buffer raises.
        self.history_pointer.fill_(pointer + 1)

    def compute_orthogonality_penalty(self) -> torch.Tensor:
        joint = torch.cat([basis.U for basis in self.safety_bases], dim=1)
        gram = joint.T @ joint
        identity = torch.eye(gram.shape[0])
        return self.config.orthogonal_penalty * (gram - identity).square().sum()

    def get_activation_statistics(self) -> Dict[str, float]:
        seen = self.activation_history[: min(100, int(self.history_pointer))]
        if len(seen) == 0:
            return {"mean_activation": 0.0, "max_activation": 0.0, "std_activation": 0.0}
        return {
            "mean_activation": float(seen.mean()),
            "max_activation": float(seen.max()),
            "std_activation": float(seen.std(unbiased=False)),
        }

    def _initialize_parameters(self):
        for module in self.activation_gate:
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for generator in self.safety_response_generator:
            nn.init.normal_(generator.weight, std=self.config.init_std)

    def freeze_safety_bases(self, freeze: bool = True):
        for basis in self.safety_bases:
            for parameter in basis.parameters():
                parameter.requires_grad_(not freeze)

    @torch.no_grad()
    def validate_orthogonality(self) -> Dict[str, float]:
        results = {}
        worst = 0.0
        for i, basis in enumerate(self.safety_bases):
            for name in ("U", "V"):
                q = getattr(basis, name)
                error = float((q.T @ q - torch.eye(q.shape[1])).abs().max())
                results[f"layer_{i}_{name}_error"] = error
                worst = max(worst, error)
                # torch.matrix_rank is gone and torch.cond is control flow now.
                results[f"layer_{i}_{name}_rank"] = float(torch.linalg.matrix_rank(q))
        results["max_error"] = worst
        results["is_orthogonal"] = float(worst < self.config.orthogonal_tolerance)
        self.orthogonality_violations.fill_(worst)
        return results
