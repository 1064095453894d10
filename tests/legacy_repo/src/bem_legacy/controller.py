"""Hierarchical routing controller: prefix, chunk and token codes.

The prefix code looks at the begin of the sequence, the chunk code refines it every `chunk_size` tokens and the token
code refines both for each token.
"""

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


class PrefixRouter(nn.Module):
    """Pools the prefix with one learned query and maps it to a code."""

    def __init__(
        self,
        input_dim: int,
        code_dim: int,
        hidden_dim: Optional[int] = None,
        dropout: float = 0.1,
        max_prefix_tokens: int = 128,
    ):
        super().__init__()
        self.input_dim = input_dim
        self.code_dim = code_dim
        self.hidden_dim = hidden_dim or input_dim
        self.max_prefix_tokens = max_prefix_tokens
        self.prefix_attention = nn.MultiheadAttention(
            input_dim, 8 if input_dim % 8 == 0 else 1, dropout=dropout, batch_first=True
        )
        self.global_query = nn.Parameter(torch.randn(1, 1, input_dim) * 0.02)
        self.prefix_net = nn.Sequential(
            nn.Linear(input_dim, self.hidden_dim),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(self.hidden_dim, code_dim),
        )
        self._initialize_weights()

    def _initialize_weights(self):
        for module in self.prefix_net:
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, hidden_states: torch.Tensor, attention_mask: Optional[torch.Tensor] = None) -> torch.Tensor:
        prefix = hidden_states[:, : self.max_prefix_tokens]
        padding = None
        if attention_mask is not None:
            padding = attention_mask[:, : self.max_prefix_tokens] == 0
        query = self.global_query.expand(hidden_states.shape[0], -1, -1)
        pooled, _ = self.prefix_attention(query, prefix, prefix, key_padding_mask=padding, need_weights=False)
        return self.prefix_net(pooled.squeeze(1))


class ChunkRouter(nn.Module):
    """Maps the mean of a chunk, the summary of the prefix and side signals to a code."""

    def __init__(
        self,
        input_dim: int,
        code_dim: int,
        hidden_dim: Optional[int] = None,
        dropout: float = 0.1,
        chunk_size: int = 32,
        ema_decay: float = 0.99,
        side_signal_dim: Optional[int] = None,
    ):
        super().__init__()
        self.input_dim = input_dim
        self.code_dim = code_dim
        self.hidden_dim = hidden_dim or input_dim
        self.chunk_size = chunk_size
        self.ema_decay = ema_decay
        self.side_signal_dim = side_signal_dim
        self.chunk_net = nn.Sequential(
            nn.Linear(2 * input_dim, self.hidden_dim),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(self.hidden_dim, code_dim),
        )
        if side_signal_dim is not None:
            self.side_projection = nn.Linear(side_signal_dim, 2 * input_dim)
        else:
            self.side_projection = None
        self.register_buffer("ema_chunk_code", torch.zeros(1, code_dim))
        self.register_buffer("ema_initialized", torch.tensor(False))
        self._initialize_weights()

    def _initialize_weights(self):
        for module in self.chunk_net:
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        if self.side_projection is not None:
            nn.init.xavier_uniform_(self.side_projection.weight)
            nn.init.zeros_(self.side_projection.bias)

    def forward(
        self,
        hidden_states: torch.Tensor,
        prefix_summary: torch.Tensor,
        chunk_start: int = 0,
        side_signals: Optional[torch.Tensor] = None,
        training: bool = True,
        attention_mask: Optional[torch.Tensor] = None,
    ) -> Tuple[torch.Tensor, torch.Tensor]:
        chunk = hidden_states[:, chunk_start : chunk_start + self.chunk_size]
        if attention_mask is not None:
            mask = attention_mask[:, chunk_start : chunk_start + self.chunk_size].unsqueeze(-1).to(chunk.dtype)
            chunk_mean = (chunk * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1.0)
        else:
            chunk_mean = chunk.mean(dim=1)
        features = torch.cat([chunk_mean, prefix_summary], dim=-1)
        if side_signals is not None and self.side_projection is not None:
            features = features + self.side_projection(side_signals)
        code = self.chunk_net(features)
        if training:
            # the buffer must not keep the graph of the step before
            with torch.no_grad():
                batch_mean = code.detach().mean(dim=0, keepdim=True)
                if bool(self.ema_initialized):
                    self.ema_chunk_code.copy_(
                        self.ema_decay * self.ema_chunk_code + (1 - self.ema_decay) * batch_mean
                    )
                else:
                    self.ema_chunk_code.copy_(batch_mean)
                    self.ema_initialized.fill_(True)
        return code, self.ema_chunk_code.clone()


class TokenRouter(nn.Module):
    def __init__(self, input_dim: int, code_dim: int, hidden_dim: Optional[int] = None, dropout: float = 0.1):
        super().__init__()
        self.input_dim = input_dim
        self.code_dim = code_dim
        self.hidden_dim = hidden_dim or input_dim
        self.token_net = nn.Sequential(
            nn.Linear(2 * input_dim, self.hidden_dim),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(self.hidden_dim, code_dim),
        )
        self._initialize_weights()

    def _initialize_weights(self):
        for module in self.token_net:
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, hidden_states: torch.Tensor, prefix_summary: torch.Tensor) -> torch.Tensor:
        summary = prefix_summary.unsqueeze(1).expand(-1, hidden_states.shape[1], -1)
        return self.token_net(torch.cat([hidden_states, summary], dim=-1))


class UncertaintyHead(nn.Module):
    def __init__(
        self,
        input_dim: int,
        hidden_dim: Optional[int] = None,
        dropout: float = 0.1,
        temperature_init: float = 1.0,
    ):
        super().__init__()
        self.input_dim = input_dim
        self.hidden_dim = hidden_dim or input_dim // 2
        self.uncertainty_net = nn.Sequential(
            nn.Linear(input_dim, self.hidden_dim),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(self.hidden_dim, 1),
        )
        self.log_temperature = nn.Parameter(torch.log(torch.tensor(float(temperature_init))))
        self._initialize_weights()

    def _initialize_weights(self):
        for module in self.uncertainty_net:
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    @property
    def temperature(self) -> torch.Tensor:
        return torch.exp(self.log_temperature)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.uncertainty_net(features) / self.temperature)


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
        self.input_dim = input_dim
        self.code_dim = code_dim
        self.hidden_dim = hidden_dim or input_dim
        self.chunk_size = chunk_size
        self.max_prefix_tokens = max_prefix_tokens
        self.enable_uncertainty = enable_uncertainty
        self.enable_token_routing = enable_token_routing
        self.code_clamp_value = code_clamp_value
        self.prefix_router = PrefixRouter(input_dim, code_dim, hidden_dim, dropout, max_prefix_tokens)
        self.chunk_router = ChunkRouter(
            input_dim, code_dim, hidden_dim, dropout, chunk_size, ema_decay, side_signal_dim
        )
        self.code_norm = nn.LayerNorm(code_dim)
        if enable_token_routing:
            self.token_router = TokenRouter(input_dim, code_dim, hidden_dim, dropout)
        else:
            self.token_router = None
        if enable_uncertainty:
            self.uncertainty_head = UncertaintyHead(input_dim, None, dropout)
        else:
            self.uncertainty_head = None

    def _clamp_codes(self, codes: torch.Tensor) -> torch.Tensor:
        norm = codes.norm(dim=-1, keepdim=True).clamp(min=1e-8)
        return codes * (self.code_clamp_value / norm).clamp(max=1.0)

    def _compute_entropy(self, codes: torch.Tensor) -> torch.Tensor:
        probs = F.softmax(codes, dim=-1)
        return -(probs * torch.log(probs + 1e-8)).sum(dim=-1)

    def _summarize(self, hidden_states: torch.Tensor, attention_mask: Optional[torch.Tensor]) -> torch.Tensor:
        prefix = hidden_states[:, : self.max_prefix_tokens]
        if attention_mask is None:
            return prefix.mean(dim=1)
        mask = attention_mask[:, : self.max_prefix_tokens].unsqueeze(-1).to(prefix.dtype)
        return (prefix * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1.0)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: Optional[torch.Tensor] = None,
        side_signals: Optional[torch.Tensor] = None,
        routing_level: Union[RoutingLevel, str] = RoutingLevel.CHUNK,
        chunk_position: int = 0,
        return_routing_state: bool = False,
    ) -> Union[torch.Tensor, Tuple[torch.Tensor, RoutingState]]:
        level = RoutingLevel(routing_level) if isinstance(routing_level, str) else routing_level
        state = RoutingState(chunk_position=chunk_position)
        prefix_summary = self._summarize(hidden_states, attention_mask)

        # each level refines the one above it, so that all of them learn
        codes = self.prefix_router(hidden_states, attention_mask)
        state.prefix_code = codes
        if level != RoutingLevel.PREFIX:
            chunk_code, ema = self.chunk_router(
                hidden_states, prefix_summary, chunk_position, side_signals, self.training, attention_mask
            )
            state.chunk_code = chunk_code
            state.ema_chunk_code = ema
            codes = codes + chunk_code
        if level == RoutingLevel.TOKEN:
            if self.token_router is None:
                raise ValueError("token routing is disabled")
            token_code = self.token_router(hidden_states, prefix_summary)
            state.token_code = token_code
            codes = codes.unsqueeze(1) + token_code

        codes = self._clamp_codes(self.code_norm(codes))
        if self.uncertainty_head is not None:
            uncertainty = self.uncertainty_head(prefix_summary)
            state.uncertainty = uncertainty
            codes = codes * (uncertainty.unsqueeze(1) if codes.dim() == 3 else uncertainty)
        if return_routing_state:
            state.entropy = self._compute_entropy(codes)
            state.utilization = {
                "code_norm": float(codes.detach().norm(dim=-1).mean()),
                "active_dims": float((codes.detach().abs() > 0.1).float().mean()),
            }
            return codes, state
        return codes


def create_hierarchical_controller(
    model_config: Dict[str, Any], controller_config: Optional[Dict[str, Any]] = None
) -> HierarchicalController:
    config = {"code_dim": 8}
    config.update(controller_config or {})
    if "rank" in config:
        config["code_dim"] = config.pop("rank")
    return HierarchicalController(input_dim=model_config["hidden_size"], **config)


def analyze_routing_behavior(
    controller: HierarchicalController,
    hidden_states: torch.Tensor,
    attention_mask: Optional[torch.Tensor] = None,
    num_chunks: int = 4,
) -> Dict[str, Any]:
    size = controller.chunk_router.chunk_size
    codes, uncertainties = [], []
    with torch.no_grad():
        for i in range(num_chunks):
            code, state = controller(
                hidden_states, attention_mask, chunk_position=i * size, return_routing_state=True
            )
            codes.append(code)
            if state.uncertainty is not None:
                uncertainties.append(float(state.uncertainty.mean()))
    return {
        "num_chunks": num_chunks,
        "code_norms": [float(code.norm(dim=-1).mean()) for code in codes],
        "mean_uncertainty": sum(uncertainties) / len(uncertainties) if uncertainties else 0.0,
    }


def compute_routing_stability(
    controller: HierarchicalController,
    hidden_states_list: list,
    routing_level: RoutingLevel = RoutingLevel.CHUNK,
) -> Dict[str, float]:
    with torch.no_grad():
        codes = [controller(states, routing_level=routing_level).flatten() for states in hidden_states_list]
    similarities = [float(F.cosine_similarity(a, b, dim=0)) for a, b in zip(codes, codes[1:])]
    mean = sum(similarities) / len(similarities) if similarities else 1.0
    return {"mean_similarity": mean, "min_similarity": min(similarities) if similarities else 1.0}
