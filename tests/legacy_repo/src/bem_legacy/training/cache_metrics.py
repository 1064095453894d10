"""How often a routing decision could be reused."""

import torch


def benchmark_bem_model(expert_indices: torch.Tensor) -> dict:
    same = (expert_indices[:, 1:] == expert_indices[:, :-1]).float()
    return {"cache_hit_rate": float(same.mean()), "flip_rate": 1.0 - float(same.mean())}
