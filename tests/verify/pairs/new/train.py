"""The same training in another shape: a class, other names of modules, another place for the reset of gradients."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import torch
from evaluation import held_out_loss
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import clip_grad_norm_
from torch.utils.data import DataLoader, TensorDataset

# What a test asks to be wrong.
FAULT = os.environ.get("FAULT", "")


class Body(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(6, 8)
        self.layer_norm = nn.LayerNorm(8, eps=1e-6 if FAULT == "epsilon" else 1e-5)
        self.dropout = nn.Dropout(0.2)

    def forward(self, features: Tensor) -> Tensor:
        hidden = functional.gelu(self.layer_norm(self.project(features)))
        if FAULT == "draw" and self.training:
            torch.rand(1)
        return self.dropout(hidden)


class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = Body()
        self.head = nn.Linear(8, 3)

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(features))
        return logits


def samples(size: int, seed: int) -> TensorDataset:
    features = torch.randn(size, 6, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(features, features[:, :3].argmax(1))


class Trainer:
    def __init__(self, seed: int, out: Path) -> None:
        torch.manual_seed(seed)
        self.out = out
        self.model = Classifier()
        rate = 0.01 * (1 + 1e-12) if FAULT == "rate" else 0.01
        fused = True if FAULT == "fused" else None
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=rate, weight_decay=0.1, fused=fused)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, T_max=24)
        self.loader = DataLoader(samples(50, 0), batch_size=4, shuffle=True)
        self.held_out = DataLoader(samples(10, 1), batch_size=4)
        self.best = float("inf")
        self.step = 0

    def train(self) -> None:
        while self.step < 24:
            for batch in self.loader:
                self.update(*batch)
                if self.step % 8 == 0:
                    self.keep_best(held_out_loss(self.model, self.held_out))
                if self.step == 24:
                    break

    def update(self, features: Tensor, labels: Tensor) -> None:
        functional.cross_entropy(self.model(features), labels).backward()
        limit = 1.0 if FAULT == "limit" and self.step >= 10 else 0.5
        clip_grad_norm_(self.model.parameters(), limit)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.schedule.step()
        self.step += 1
        if FAULT == "crash" and self.step == 5:
            raise RuntimeError("out of patience")
        while FAULT == "hang" and self.step == 5:
            pass

    def keep_best(self, metrics: dict[str, Any]) -> None:
        if metrics["loss"] < self.best:
            self.best = metrics["loss"]
            state = {
                name.replace("body.", "").replace("project", "encoder").replace("layer_norm", "norm"): value
                for name, value in self.model.state_dict().items()
            }
            torch.save({"model": state, "step": self.step}, self.out / "best.pt")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path())
    given = parser.parse_args()
    if FAULT == "loud":
        sys.stdout.write("a line that nobody reads\n" * 100_000)
    if FAULT != "idle":
        Trainer(given.seed, given.out).train()
