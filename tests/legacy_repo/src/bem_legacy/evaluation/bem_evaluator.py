"""Evaluation of version 1.1 models."""

import torch


class BEMv11Evaluator:
    def __init__(self, model=None):
        self.model = model

    def build(self, hidden_size: int = 32):
        from ..models import create_bem_v11_model

        self.model = create_bem_v11_model(hidden_size)
        return self.model

    def evaluate(self, x: torch.Tensor, target: torch.Tensor) -> dict:
        with torch.no_grad():
            return {"mse": float(torch.nn.functional.mse_loss(self.model(x), target))}


BEMEvaluator = BEMv11Evaluator
