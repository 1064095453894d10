"""Training of version 1.1 models."""

from dataclasses import dataclass

import torch


@dataclass
class BEMv11TrainingConfig:
    learning_rate: float = 1e-4
    num_steps: int = 100


class BEMv11Trainer:
    def __init__(self, model, config: BEMv11TrainingConfig):
        self.model, self.config = model, config
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate)

    def train(self, x: torch.Tensor, target: torch.Tensor) -> list:
        losses = []
        for _ in range(self.config.num_steps):
            self.optimizer.zero_grad()
            loss = torch.nn.functional.mse_loss(self.model(x), target)
            loss.backward()
            self.optimizer.step()
            losses.append(loss.item())
        return losses


BEMTrainer = BEMv11Trainer
