"""Two parallel deltas with orthogonal inputs."""

import torch
import torch.nn as nn


class DualPathLoRA(nn.Module):
    def __init__(self, base_layer: nn.Linear, rank: int = 8):
        super().__init__()
        self.base_layer = base_layer
        self.downs = nn.ModuleList(nn.Linear(base_layer.in_features, rank, bias=False) for _ in range(2))
        self.ups = nn.ModuleList(nn.Linear(rank, base_layer.out_features, bias=False) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base_layer(x) + sum(up(down(x)) for down, up in zip(self.downs, self.ups))


class OrthogonalityRegularizer(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a @ b.T).pow(2).mean()


def create_dual_path_lora_for_model(model: nn.Module, rank: int = 8) -> dict:
    return {name: DualPathLoRA(m, rank) for name, m in model.named_modules() if isinstance(m, nn.Linear)}
