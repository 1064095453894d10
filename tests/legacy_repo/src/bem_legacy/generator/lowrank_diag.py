"""Low-rank plus diagonal deltas."""

import torch


def lowrank_plus_diag(x: torch.Tensor, u: torch.Tensor, v: torch.Tensor, diagonal: torch.Tensor) -> torch.Tensor:
    return x @ v.T @ u.T + x * diagonal
