"""Version 1.1 with governance switched on."""

import torch.nn as nn

from .modules.governance import SpectralGovernance
from .modules.parallel_lora import GeneratedParallelLoRA


class BEMv11Module(nn.Module):
    def __init__(self, base_layer: nn.Linear, rank: int = 8):
        super().__init__()
        self.adapter = GeneratedParallelLoRA(base_layer, rank)

    def forward(self, x):
        return self.adapter(x)


class BEMv11StableModel(BEMv11Module):
    def __init__(self, base_layer: nn.Linear, rank: int = 8, max_singular_value: float = 1.0):
        super().__init__(base_layer, rank)
        self.governance = SpectralGovernance(max_singular_value)


BEMv11Stable = BEMv11StableModel
