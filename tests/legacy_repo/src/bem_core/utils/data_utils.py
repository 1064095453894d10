"""Datasets from JSON lines."""

import json
from typing import Any, Callable, Dict, List

import torch
from torch.utils.data import DataLoader


def load_dataset(path: str) -> List[Dict[str, Any]]:
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f if line.strip()]


def tokenize_batch(texts: List[str], tokenizer: Callable[[str], List[int]], max_length: int = 512) -> torch.Tensor:
    rows = [tokenizer(text)[:max_length] for text in texts]
    width = max(map(len, rows), default=0)
    return torch.tensor([row + [0] * (width - len(row)) for row in rows])


def collate_fn(rows: List[Dict[str, Any]]) -> Dict[str, Any]:
    return {key: torch.as_tensor([row[key] for row in rows]) for key in rows[0]}


def create_dataloader(rows: List[Dict[str, Any]], batch_size: int = 16, shuffle: bool = False) -> DataLoader:
    return DataLoader(rows, batch_size=batch_size, shuffle=shuffle, collate_fn=collate_fn)
