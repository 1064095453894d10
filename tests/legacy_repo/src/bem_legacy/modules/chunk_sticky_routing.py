"""One expert per chunk, kept unless another is clearly better."""

from typing import Dict, List, Optional

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
        self.input_dim = input_dim
        self.num_experts = num_experts
        self.chunk_size = chunk_size
        self.hysteresis_tau = hysteresis_tau
        hidden = routing_hidden_dim or input_dim // 2
        self.router = nn.Sequential(nn.Linear(input_dim, hidden), nn.ReLU(), nn.Linear(hidden, num_experts))
        self.register_buffer("routing_history", torch.zeros(10, dtype=torch.long))
        self.register_buffer("flip_count", torch.tensor(0, dtype=torch.long))
        self.register_buffer("chunk_count", torch.tensor(0, dtype=torch.long))
        self._init_router_weights()

    def _init_router_weights(self):
        for module in self.router:
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight, gain=0.1)
                nn.init.zeros_(module.bias)

    def forward(
        self, x: torch.Tensor, prev_expert_indices: Optional[torch.Tensor] = None
    ) -> Dict[str, torch.Tensor]:
        batch_size, seq_len, _ = x.shape
        num_chunks = (seq_len + self.chunk_size - 1) // self.chunk_size
        previous = prev_expert_indices
        weights, indices, chunk_logits_all, flip_decisions = [], [], [], []
        for i in range(num_chunks):
            chunk = x[:, i * self.chunk_size : (i + 1) * self.chunk_size]
            logits = self.router(chunk.mean(dim=1))
            chosen = logits.argmax(dim=-1)
            if previous is not None:
                new_logit = logits.gather(-1, chosen.unsqueeze(-1)).squeeze(-1)
                old_logit = logits.gather(-1, previous.unsqueeze(-1)).squeeze(-1)
                flip = (new_logit - old_logit) > self.hysteresis_tau
                chosen = torch.where(flip, chosen, previous)
                self.flip_count += flip.sum()
            else:
                flip = torch.zeros(batch_size, dtype=torch.bool, device=x.device)
            self.chunk_count += batch_size
            one_hot = nn.functional.one_hot(chosen, self.num_experts).float()
            weights.append(one_hot.unsqueeze(1).expand(-1, chunk.shape[1], -1))
            indices.append(chosen)
            chunk_logits_all.append(logits)
            flip_decisions.append(flip)
            previous = chosen
        routing_weights = torch.cat(weights, dim=1)
        expert_indices = torch.stack(indices, dim=1)
        return {
            "routing_weights": routing_weights,
            "expert_indices": expert_indices,
            "routing_logits": torch.stack(chunk_logits_all, dim=1),
            **self._compute_routing_stats(routing_weights, expert_indices, chunk_logits_all, flip_decisions),
        }

    def _compute_routing_stats(
        self,
        routing_weights: torch.Tensor,
        expert_indices: torch.Tensor,
        chunk_logits_all: List[torch.Tensor],
        flip_decisions: List[torch.Tensor],
    ) -> Dict[str, torch.Tensor]:
        utilization = routing_weights.mean(dim=(0, 1))
        return {
            "expert_utilization": utilization,
            "utilization_entropy": -(utilization * (utilization + 1e-8).log()).sum(),
            "flip_rate": torch.stack(flip_decisions, dim=1).float().mean(),
        }

    def get_cache_alignment_report(self) -> Dict[str, any]:
        chunks = max(1, int(self.chunk_count))
        return {
            "chunk_size": self.chunk_size,
            "total_chunks": int(self.chunk_count),
            "total_flips": int(self.flip_count),
            "flip_rate": int(self.flip_count) / chunks,
        }


class AdaptiveChunkRouter(ChunkStickyRouter):
    """Ends chunks where the content changes."""

    def __init__(
        self,
        input_dim: int,
        num_experts: int,
        base_chunk_size: int = 128,
        min_chunk_size: int = 64,
        max_chunk_size: int = 256,
        **kwargs,
    ):
        super().__init__(input_dim, num_experts, chunk_size=base_chunk_size, **kwargs)
        self.base_chunk_size = base_chunk_size
        self.min_chunk_size = min_chunk_size
        self.max_chunk_size = max_chunk_size
        self.boundary_detector = nn.Sequential(nn.Linear(input_dim, 1), nn.Sigmoid())

    def _detect_chunk_boundaries(self, x: torch.Tensor) -> List[int]:
        scores = self.boundary_detector(x).mean(dim=0).squeeze(-1)
        boundaries, start = [0], 0
        for position in range(1, x.shape[1]):
            length = position - start
            if length >= self.max_chunk_size or (length >= self.min_chunk_size and scores[position] > 0.5):
                boundaries.append(position)
                start = position
        return boundaries


def create_chunk_sticky_router(
    input_dim: int, num_experts: int, chunk_size: int = 128, adaptive: bool = False, **kwargs
) -> ChunkStickyRouter:
    if adaptive:
        return AdaptiveChunkRouter(input_dim, num_experts, base_chunk_size=chunk_size, **kwargs)
    return ChunkStickyRouter(input_dim, num_experts, chunk_size=chunk_size, **kwargs)
