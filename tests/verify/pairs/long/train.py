"""A training that saves every ten steps and can go on from there.

``--new`` gives its modules other names, and goes to its place in the data, where the old one reads what comes before.
"""

from __future__ import annotations

import argparse
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

# What a test asks to be wrong, and from which step on.
FAULT, _, AT = os.environ.get("FAULT", "").partition("@")
# What is wrong where it goes on from a checkpoint, or noise.
BROKEN = os.environ.get("BROKEN", "")
STEPS, EVERY = 60, 10


class Old(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(6, 8)
        self.norm = nn.LayerNorm(8)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(8, 3)

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.head(self.dropout(functional.gelu(self.norm(self.encoder(features)))))
        return logits


class New(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = Old()

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.body(features)
        return logits


class Training:
    def __init__(self, new: bool) -> None:
        torch.manual_seed(3)
        self.model = New() if new else Old()
        self.norm = self.model.body.norm if isinstance(self.model, New) else self.model.norm
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.01)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, T_max=STEPS)
        self.data = TensorDataset(torch.randn(4 * STEPS, 6, generator=torch.Generator().manual_seed(5)))
        self.step = 0
        self.batches = self.loaded(0)

    def loaded(self, first: int) -> Iterator[Any]:
        return iter(DataLoader(self.data, batch_size=4, sampler=range(first, len(self.data))))

    def train(self, out: Path) -> None:
        (out / "checkpoints").mkdir()
        while self.step < STEPS:
            self.step += 1
            self.update()
            if self.step % EVERY == 0:
                torch.save(self.state(), out / "checkpoints" / f"step_{self.step:03d}.pt")
        (out / "end").touch()

    def update(self) -> None:
        wrong = bool(FAULT) and self.step >= int(AT)
        if FAULT == "constant":
            self.norm.eps = 1e-3 if wrong else 1e-5
        if FAULT == "draw" and wrong:
            torch.rand(1)
        (features,) = next(self.batches)
        loss = functional.cross_entropy(self.model(features), features[:, :3].argmax(1))
        if BROKEN == "noise":
            loss = loss * (1 + 1e-3 * random.SystemRandom().random())
        loss.backward()
        for group in self.optimizer.param_groups if FAULT == "rate" and wrong else ():
            group["lr"] *= 1 + 1e-4
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.schedule.step()

    def state(self) -> dict[str, Any]:
        parts = {"model": self.model, "optimizer": self.optimizer, "schedule": self.schedule}
        state = {name: part.state_dict() for name, part in parts.items()}
        wrong = FAULT == "saved" and self.step >= int(AT)
        return {**state, "generator": torch.get_rng_state(), "step": self.step, "extra": torch.full((1,), float(wrong))}

    def resume(self, path: Path) -> None:
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        if BROKEN != "optimizer":
            self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.step = state["step"]
        if isinstance(self.model, New):
            self.batches = self.loaded(4 * self.step)
        else:
            for _ in range(self.step):
                next(self.batches)
        if BROKEN != "generator":
            torch.set_rng_state(state["generator"])
        if BROKEN == "crash":
            raise ValueError("cannot go on")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--resume", type=Path)
    parser.add_argument("--new", action="store_true")
    given = parser.parse_args()
    training = Training(given.new)
    if given.resume:
        training.resume(given.resume)
    training.train(given.out)
