"""Training of phase 2 modules."""

import torch

from .hierarchical_bem import HierarchicalBEMModule


class HierarchicalTrainer:
    def __init__(self, module: HierarchicalBEMModule, learning_rate: float = 1e-3):
        self.module = module
        self.optimizer = torch.optim.AdamW(module.parameters(), lr=learning_rate)

    def train_step(self, x: torch.Tensor, target: torch.Tensor) -> float:
        self.optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(self.module(x), target)
        loss.backward()
        self.optimizer.step()
        return loss.item()
