"""A delta beside the layer whose scale is generated from the input."""

import torch
import torch.nn as nn


class AdapterGenerator(nn.Module):
    def __init__(self, input_dim: int, rank: int):
        super().__init__()
        self.net = nn.Linear(input_dim, rank)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.net(x))


class GeneratedParallelLoRA(nn.Module):
    def __init__(self, base_layer: nn.Linear, rank: int = 8):
        super().__init__()
        self.base_layer = base_layer
        self.generator = AdapterGenerator(base_layer.in_features, rank)
        self.down = nn.Linear(base_layer.in_features, rank, bias=False)
        self.up = nn.Linear(rank, base_layer.out_features, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base_layer(x) + self.up(self.down(x) * self.generator(x))
