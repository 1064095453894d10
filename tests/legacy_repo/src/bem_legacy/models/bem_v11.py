"""A stack of version 1.1 modules."""

import torch.nn as nn

from ..bem_v11_stable import BEMv11Module


class BEMv11Model(nn.Module):
    def __init__(self, hidden_size: int = 32, num_layers: int = 2):
        super().__init__()
        self.layers = nn.ModuleList(
            BEMv11Module(nn.Linear(hidden_size, hidden_size)) for _ in range(num_layers)
        )

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


def create_bem_v11_model(hidden_size: int = 32, num_layers: int = 2) -> BEMv11Model:
    return BEMv11Model(hidden_size, num_layers)
