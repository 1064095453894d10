"""One expert per chunk, kept unless another is clearly better."""

from typing import Dict, Optional

import torch
import torch.nn as nn


class ChunkStickyRouter(nn.Module):
    def __init__(
        self,
        input_dim: int,
        num_experts: int,
        chunk_size: int = 128,
        hysteresis_tau: float = 0.7,
        routing_hidden_dim: int = None,
    ):
        super().__init__()
        hidden = routing_hidden_dim or input_dim // 2
        self.chunk_size, self.hysteresis_tau = chunk_size, hysteresis_tau
        self.net = nn.Sequential(nn.Linear(input_dim, hidden), nn.GELU(), nn.Linear(hidden, num_experts))

    def forward(
        self, x: torch.Tensor, prev_expert_indices: Optional[torch.Tensor] = None
    ) -> Dict[str, torch.Tensor]:
        chunks = torch.stack([part.mean(dim=1) for part in x.split(self.chunk_size, dim=1)], dim=1)
        logits = self.net(chunks)
        chosen = logits.argmax(dim=-1)
        if prev_expert_indices is not None:
            gain = logits.max(dim=-1).values - logits.gather(-1, prev_expert_indices.unsqueeze(-1)).squeeze(-1)
            chosen = torch.where(gain > self.hysteresis_tau, chosen, prev_expert_indices)
        return {"routing_logits": logits, "expert_indices": chosen}


def create_chunk_sticky_router(input_dim: int, num_experts: int, chunk_size: int = 128, **kwargs) -> ChunkStickyRouter:
    return ChunkStickyRouter(input_dim, num_experts, chunk_size, **kwargs)
