"""Counting, freezing and loading parameters."""

import torch
import torch.nn as nn


def count_parameters(model: nn.Module, trainable_only: bool = False) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable_only)


def get_model_size(model: nn.Module) -> float:
    """Size in megabytes."""
    return sum(p.numel() * p.element_size() for p in model.parameters()) / 2**20


def freeze_parameters(model: nn.Module) -> None:
    model.requires_grad_(False)


def unfreeze_parameters(model: nn.Module) -> None:
    model.requires_grad_(True)


def load_pretrained_weights(model: nn.Module, path: str, strict: bool = True) -> None:
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True), strict=strict)
