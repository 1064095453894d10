"""A training as a hand-written loop, with everything in one function."""

import argparse
import os

import torch
import torch.nn as nn
import torch.nn.functional as F
from evaluation import evaluate
from torch.nn.utils import clip_grad_norm_
from torch.utils.data import DataLoader, TensorDataset


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(6, 8)
        self.norm = nn.LayerNorm(8)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.drop(F.gelu(self.norm(self.encoder(x)))))


def data(size, seed):
    x = torch.randn(size, 6, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(x, x[:, :3].argmax(1))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default=".")
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    model = Model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=24)
    loader, held_out = DataLoader(data(50, 0), batch_size=4, shuffle=True), DataLoader(data(10, 1), batch_size=4)
    step, best = 0, float("inf")
    while step < 24:
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
            scheduler.step()
            step += 1
            if step % 8 == 0:
                metrics = evaluate(model, held_out)
                if metrics["loss"] < best:
                    best = metrics["loss"]
                    torch.save({"model": model.state_dict(), "step": step}, os.path.join(args.out, "best.pt"))
            if step == 24:
                break


if __name__ == "__main__":
    main()
