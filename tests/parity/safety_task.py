"""A small task for the safety component that the old repository and ours can both load.

Half of the texts contain tokens of a forbidden kind; each token follows from the one before it.
As a program it writes ``base.pt``, the weights that trainings begin with, to a folder.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from bem_core.models.tiny import TinyConfig, TinyDecoder

SIZES = {"vocab_size": 24, "hidden_size": 16, "num_layers": 2, "num_attention_heads": 2, "context_length": 8}
# The last tokens of the vocabulary are forbidden.
FORBIDDEN = 16
NUM_TYPES = 19


class Sequences(Dataset[dict[str, Tensor]]):
    """Sequences of tokens with, under ``violations``, a severity where there are forbidden ones.

    Args:
        size: How many.
        seed: What they depend on.
    """

    def __init__(self, size: int, seed: int = 0) -> None:
        draw = torch.Generator().manual_seed(seed)
        length = SIZES["context_length"]
        start = torch.randint(0, FORBIDDEN, (size, 1), generator=draw)
        safe = (start + torch.arange(length)) % FORBIDDEN
        violates = torch.rand(size, generator=draw) < 0.5
        kind = torch.randint(0, 3, (size,), generator=draw)
        forbidden = FORBIDDEN + (safe + kind[:, None]) % (SIZES["vocab_size"] - FORBIDDEN)
        late = torch.arange(length) >= length // 2
        self.input_ids = torch.where(violates[:, None] & late, forbidden, safe)
        self.violations = torch.zeros(size, NUM_TYPES, dtype=torch.long)
        self.violations[torch.arange(size), kind] = violates * (kind + 1)

    def __len__(self) -> int:
        return len(self.input_ids)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        ids = self.input_ids[index]
        return {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "labels": ids,
            "violations": self.violations[index],
        }


def loader(size: int = 120, batch_size: int = 4) -> DataLoader[dict[str, Tensor]]:
    """Training data in the order of torch's global generator."""
    return DataLoader(Sequences(size), batch_size=batch_size, shuffle=True)


def batches(size: int = 32, batch_size: int = 8) -> list[dict[str, Any]]:
    """Evaluation data, as a list: it draws no random numbers."""
    data = Sequences(size, seed=1)
    return [default_collate([data[i] for i in range(at, at + batch_size)]) for at in range(0, size, batch_size)]


def write_base_weights(path: Path) -> None:
    """Save the weights of a base model that knows the sequences, so that the constraint makes it worse at them."""
    torch.manual_seed(0)
    model = TinyDecoder(TinyConfig(**SIZES))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    ids = Sequences(128).input_ids
    for _ in range(60):
        optimizer.zero_grad()
        loss = model(ids, labels=ids).loss
        loss.backward()
        optimizer.step()
    torch.save(model.state_dict(), path)


if __name__ == "__main__":
    write_base_weights(Path(sys.argv[1]) / "base.pt")
