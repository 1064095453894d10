"""A static LoRA delta and a controller that scales it."""

import torch
import torch.nn as nn

from .simple_bem import BEMController


class StaticLoRA(nn.Module):
    def __init__(self, in_features: int, out_features: int, rank: int = 8):
        super().__init__()
        self.A = nn.Parameter(torch.randn(rank, in_features) * 0.02)
        self.B = nn.Parameter(torch.zeros(out_features, rank))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.A.T @ self.B.T


class InterpolationBEM(nn.Module):
    def __init__(self, base_layer: nn.Linear, lora: StaticLoRA):
        super().__init__()
        self.base_layer, self.lora = base_layer, lora
        self.controller = BEMController(base_layer.in_features, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base_layer(x) + torch.sigmoid(self.controller(x)) * self.lora(x)


def create_interpolation_bem(base_layer: nn.Linear, rank: int = 8) -> InterpolationBEM:
    return InterpolationBEM(base_layer, StaticLoRA(base_layer.in_features, base_layer.out_features, rank))


def analyze_interpolation_behavior(model: InterpolationBEM, x: torch.Tensor) -> dict:
    scale = torch.sigmoid(model.controller(x))
    return {"mean_scale": float(scale.mean()), "std_scale": float(scale.std())}
