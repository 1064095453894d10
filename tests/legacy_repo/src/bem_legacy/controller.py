"""Three-level routing: prefix, chunk and token codes."""

from dataclasses import dataclass
from enum import Enum
from typing import Any, Dict, Optional, Tuple, Union

import torch
import torch.nn as nn
import torch.nn.functional as F


class RoutingLevel(Enum):
    PREFIX = "prefix"
    CHUNK = "chunk"
    TOKEN = "token"


@dataclass
class RoutingState:
    prefix_code: Optional[torch.Tensor] = None
    chunk_code: Optional[torch.Tensor] = None
    token_code: Optional[torch.Tensor] = None
    uncertainty: Optional[torch.Tensor] = None
    entropy: Optional[torch.Tensor] = None
    utilization: Optional[Dict[str, float]] = None
    chunk_position: int = 0
    ema_chunk_code: Optional[torch.Tensor] = None


def _mlp(inputs: int, hidden: int, outputs: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, outputs))


class PrefixRouter(nn.Module):
    def __init__(self, input_dim, code_dim, hidden_dim=None, dropout=0.1, max_prefix_tokens=128):
        super().__init__()
        self.max_prefix_tokens = max_prefix_tokens
        self.attention = nn.Linear(input_dim, 1)
        self.mlp = _mlp(input_dim, hidden_dim or input_dim, code_dim, dropout)

    def forward(self, hidden_states: torch.Tensor, attention_mask: Optional[torch.Tensor] = None) -> torch.Tensor:
        prefix = hidden_states[:, : self.max_prefix_tokens]
        scores = self.attention(prefix).squeeze(-1)
        if attention_mask is not None:
            scores = scores.masked_fill(attention_mask[:, : self.max_prefix_tokens] == 0, float("-inf"))
        return self.mlp((F.softmax(scores, dim=-1).unsqueeze(-1) * prefix).sum(dim=1))


class ChunkRouter(nn.Module):
    def __init__(
        self, input_dim, code_dim, hidden_dim=None, dropout=0.1, chunk_size=32, ema_decay=0.99, side_signal_dim=None
    ):
        super().__init__()
        self.chunk_size, self.ema_decay = chunk_size, ema_decay
        self.mlp = _mlp(2 * input_dim, hidden_dim or input_dim, code_dim, dropout)
        self.side_projection = nn.Linear(side_signal_dim, 2 * input_dim) if side_signal_dim else None
        self.register_buffer("ema_code", torch.zeros(code_dim))

    def forward(
        self,
        hidden_states: torch.Tensor,
        prefix_summary: torch.Tensor,
        chunk_start: int = 0,
        side_signals: Optional[torch.Tensor] = None,
        training: bool = True,
    ) -> Tuple[torch.Tensor, torch.Tensor]:
        chunk = hidden_states[:, chunk_start : chunk_start + self.chunk_size].mean(dim=1)
        features = torch.cat([chunk, prefix_summary], dim=-1)
        if self.side_projection is not None and side_signals is not None:
            features = features + self.side_projection(side_signals)
        code = self.mlp(features)
        if training:
            self.ema_code.mul_(self.ema_decay).add_(code.detach().mean(dim=0), alpha=1 - self.ema_decay)
        return code, self.ema_code


class TokenRouter(nn.Module):
    def __init__(self, input_dim, code_dim, hidden_dim=None, dropout=0.1):
        super().__init__()
        self.mlp = _mlp(2 * input_dim, hidden_dim or input_dim, code_dim, dropout)

    def forward(self, hidden_states: torch.Tensor, prefix_summary: torch.Tensor) -> torch.Tensor:
        summary = prefix_summary.unsqueeze(1).expand_as(hidden_states)
        return self.mlp(torch.cat([hidden_states, summary], dim=-1))


class UncertaintyHead(nn.Module):
    def __init__(self, input_dim, hidden_dim=None, dropout=0.1, temperature_init=1.0):
        super().__init__()
        self.mlp = _mlp(input_dim, hidden_dim or input_dim // 2, 1, dropout)
        self.log_temperature = nn.Parameter(torch.tensor(float(temperature_init)).log())

    @property
    def temperature(self) -> torch.Tensor:
        return self.log_temperature.exp()

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.mlp(features) / self.temperature)


class HierarchicalController(nn.Module):
    def __init__(
        self,
        input_dim: int,
        code_dim: int,
        hidden_dim: Optional[int] = None,
        dropout: float = 0.1,
        chunk_size: int = 32,
        max_prefix_tokens: int = 128,
        ema_decay: float = 0.99,
        side_signal_dim: Optional[int] = None,
        enable_uncertainty: bool = True,
        enable_token_routing: bool = True,
        code_clamp_value: float = 3.0,
    ):
        super().__init__()
        self.code_clamp_value = code_clamp_value
        self.prefix_router = PrefixRouter(input_dim, code_dim, hidden_dim, dropout, max_prefix_tokens)
        self.chunk_router = ChunkRouter(
            input_dim, code_dim, hidden_dim, dropout, chunk_size, ema_decay, side_signal_dim
        )
        self.token_router = TokenRouter(input_dim, code_dim, hidden_dim, dropout) if enable_token_routing else None
        self.uncertainty_head = UncertaintyHead(input_dim) if enable_uncertainty else None

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: Optional[torch.Tensor] = None,
        side_signals: Optional[torch.Tensor] = None,
        routing_level: Union[RoutingLevel, str] = RoutingLevel.CHUNK,
        chunk_position: int = 0,
        return_routing_state: bool = False,
    ):
        level = RoutingLevel(routing_level)
        summary = hidden_states.mean(dim=1)
        state = RoutingState(chunk_position=chunk_position)
        if level is RoutingLevel.PREFIX:
            code = state.prefix_code = self.prefix_router(hidden_states, attention_mask)
        elif level is RoutingLevel.CHUNK:
            code, state.ema_chunk_code = self.chunk_router(
                hidden_states, summary, chunk_position, side_signals, self.training
            )
            state.chunk_code = code
        else:
            code = state.token_code = self.token_router(hidden_states, summary)
        norm = code.norm(dim=-1, keepdim=True).clamp_min(1e-8)
        code = code * (self.code_clamp_value / norm).clamp_max(1.0)
        if self.uncertainty_head is not None:
            state.uncertainty = self.uncertainty_head(summary)
        return (code, state) if return_routing_state else code


def create_hierarchical_controller(
    model_config: Dict[str, Any], controller_config: Optional[Dict[str, Any]] = None
) -> HierarchicalController:
    return HierarchicalController(model_config["hidden_size"], **{"code_dim": 8, **(controller_config or {})})


def analyze_routing_behavior(
    controller: HierarchicalController,
    hidden_states: torch.Tensor,
    attention_mask: Optional[torch.Tensor] = None,
    num_chunks: int = 4,
) -> Dict[str, Any]:
    size = controller.chunk_router.chunk_size
    codes = [controller(hidden_states, attention_mask, chunk_position=i * size) for i in range(num_chunks)]
    return {"num_chunks": num_chunks, "code_norms": [float(code.norm(dim=-1).mean()) for code in codes]}


def compute_routing_stability(
    controller: HierarchicalController, hidden_states_list: list, routing_level: RoutingLevel = RoutingLevel.CHUNK
) -> Dict[str, float]:
    codes = [controller(states, routing_level=routing_level).flatten() for states in hidden_states_list]
    similarities = [float(F.cosine_similarity(a, b, dim=0)) for a, b in zip(codes, codes[1:])]
    return {"mean_similarity": sum(similarities) / len(similarities) if similarities else 1.0}
