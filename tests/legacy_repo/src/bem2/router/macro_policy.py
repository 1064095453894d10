"""
Macro policy of the agentic router.

pi(z | x) over macro actions (expert_id, scope, span, rank_budget, bias_scale), one per chunk.
Hysteresis keeps the last action unless a new one is clearly better, so that the KV cache stays usable.
"""

import logging
from dataclasses import dataclass
from typing import Dict, NamedTuple, Optional, Tuple

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.distributions import Categorical

logger = logging.getLogger(__name__)


@dataclass
class MacroAction:
    """One macro action."""

    expert_id: int
    scope: str  # "local" or "global"
    span: int  # chunks, 1..max_span
    rank_budget: int  # 8, 16, 32 or 64
    bias_scale: float  # 0.1..2.0

    def to_tensor(self, device: torch.device) -> torch.Tensor:
        scope_id = 1.0 if self.scope == "global" else 0.0
        return torch.tensor(
            [float(self.expert_id), scope_id, float(self.span), float(self.rank_budget), float(self.bias_scale)],
            device=device,
            dtype=torch.float32,
        )

    @classmethod
    def from_tensor(cls, action_tensor: torch.Tensor) -> "MacroAction":
        values = action_tensor.detach().cpu().tolist()
        return cls(
            expert_id=int(round(values[0])),
            scope="global" if values[1] > 0.5 else "local",
            span=int(round(values[2])),
            rank_budget=int(round(values[3])),
            bias_scale=float(values[4]),
        )


class MacroPolicyState(NamedTuple):
    """What the policy sees of a chunk."""

    chunk_summary: torch.Tensor  # [B, chunk_summary_dim]
    retrieval_features: torch.Tensor  # [B, retrieval_dim]
    vision_features: torch.Tensor  # [B, vision_dim]
    value_features: torch.Tensor  # [B, value_dim]
    prev_action: Optional[torch.Tensor]  # [B, 5], rows of zeros where there is none
    chunk_index: torch.Tensor  # [B]


class MacroPolicy(nn.Module):
    """Transformer over the (single) state token, one head per part of the action."""

    def __init__(
        self,
        num_experts: int = 3,
        chunk_summary_dim: int = 512,
        retrieval_dim: int = 64,
        vision_dim: int = 768,
        value_dim: int = 32,
        hidden_dim: int = 256,
        num_layers: int = 3,
        dropout: float = 0.1,
        hysteresis_tau: float = 0.5,
        max_span: int = 4,
    ):
        super().__init__()
        self.num_experts = num_experts
        self.hidden_dim = hidden_dim
        self.hysteresis_tau = hysteresis_tau
        self.max_span = max_span

        # State projections
        self.chunk_proj = nn.Linear(chunk_summary_dim, hidden_dim)
        self.retrieval_proj = nn.Linear(retrieval_dim, hidden_dim // 4)
        self.vision_proj = nn.Linear(vision_dim, hidden_dim // 4)
        self.value_proj = nn.Linear(value_dim, hidden_dim // 4)
        self.action_proj = nn.Linear(5, hidden_dim // 4)
        self.pos_proj = nn.Linear(1, hidden_dim // 4)

        # Encoder
        encoder_layer = nn.TransformerEncoderLayer(
            d_model=hidden_dim,
            nhead=8,
            dim_feedforward=hidden_dim * 4,
            dropout=dropout,
            batch_first=True,
        )
        self.state_encoder = nn.TransformerEncoder(encoder_layer, num_layers=num_layers)

        # Heads
        self.expert_head = nn.Linear(hidden_dim, num_experts)
        self.scope_head = nn.Linear(hidden_dim, 2)
        self.span_head = nn.Linear(hidden_dim, max_span)
        self.rank_head = nn.Linear(hidden_dim, 4)  # 8, 16, 32, 64
        self.bias_head = nn.Linear(hidden_dim, 1)
        self.value_head = nn.Linear(hidden_dim, 1)

        self.register_buffer("action_history", torch.zeros(10, 5))
        self.register_buffer("hysteresis_count", torch.tensor(0, dtype=torch.long))

        self._init_weights()

    def _init_weights(self):
        for head in [self.expert_head, self.scope_head, self.span_head, self.rank_head]:
            nn.init.xavier_uniform_(head.weight, gain=0.1)
            nn.init.zeros_(head.bias)
        nn.init.zeros_(self.bias_head.weight)
        nn.init.zeros_(self.bias_head.bias)
        nn.init.xavier_uniform_(self.value_head.weight, gain=0.1)
        nn.init.zeros_(self.value_head.bias)

    def encode_state(self, state: MacroPolicyState) -> torch.Tensor:
        batch_size = state.chunk_summary.shape[0]
        device = state.chunk_summary.device

        chunk_features = self.chunk_proj(state.chunk_summary)
        retrieval_features = self.retrieval_proj(state.retrieval_features)
        vision_features = self.vision_proj(state.vision_features)
        value_features = self.value_proj(state.value_features)

        if state.prev_action is not None:
            action_features = self.action_proj(state.prev_action)
        else:
            action_features = self.action_proj(torch.zeros(batch_size, 5, device=device))

        pos_features = self.pos_proj(state.chunk_index.float().view(batch_size, 1))

        aux_features = torch.cat(
            [retrieval_features, vision_features, value_features, action_features, pos_features], dim=-1
        )

        # aux is wider than hidden_dim (5 quarters of it): what does not fit is added from the front again
        aux_dim = aux_features.shape[-1]
        merge = torch.zeros(self.hidden_dim, aux_dim, device=device)
        for i in range(aux_dim):
            merge[i % self.hidden_dim, i] = 1.0
        combined = chunk_features + F.linear(aux_features, merge)

        encoded = self.state_encoder(combined.unsqueeze(1))
        return encoded.squeeze(1)

    def forward(
        self, state: MacroPolicyState, sample: bool = True, temperature: float = 1.0
    ) -> Dict[str, torch.Tensor]:
        encoded_state = self.encode_state(state)

        expert_logits = self.expert_head(encoded_state) / temperature
        scope_logits = self.scope_head(encoded_state) / temperature
        span_logits = self.span_head(encoded_state) / temperature
        rank_logits = self.rank_head(encoded_state) / temperature
        bias_raw = self.bias_head(encoded_state)
        bias_actions = 0.1 + 1.9 * torch.sigmoid(bias_raw)
        state_values = self.value_head(encoded_state).squeeze(-1)

        expert_dist = Categorical(logits=expert_logits)
        scope_dist = Categorical(logits=scope_logits)
        span_dist = Categorical(logits=span_logits)
        rank_dist = Categorical(logits=rank_logits)
        if sample:
            expert_actions = expert_dist.sample()
            scope_actions = scope_dist.sample()
            span_actions = span_dist.sample()
            rank_actions = rank_dist.sample()
        else:
            expert_actions = torch.argmax(expert_logits, dim=-1)
            scope_actions = torch.argmax(scope_logits, dim=-1)
            span_actions = torch.argmax(span_logits, dim=-1)
            rank_actions = torch.argmax(rank_logits, dim=-1)

        log_probs = (
            expert_dist.log_prob(expert_actions)
            + scope_dist.log_prob(scope_actions)
            + span_dist.log_prob(span_actions)
            + rank_dist.log_prob(rank_actions)
        )

        rank_values = torch.tensor([8, 16, 32, 64], device=encoded_state.device)
        # what was drawn, before hysteresis: log_probs are those of these
        sampled_actions = torch.stack(
            [
                expert_actions.float(),
                scope_actions.float(),
                (span_actions + 1).float(),
                rank_values[rank_actions].float(),
                bias_actions.squeeze(-1),
            ],
            dim=-1,
        )

        if state.prev_action is not None:
            expert_actions, scope_actions, span_actions, rank_actions, bias_actions = self._apply_hysteresis(
                expert_actions,
                scope_actions,
                span_actions,
                rank_actions,
                bias_actions,
                state.prev_action,
                expert_logits,
                scope_logits,
                span_logits,
                rank_logits,
                bias_raw,
            )

        actions = torch.stack(
            [
                expert_actions.float(),
                scope_actions.float(),
                (span_actions + 1).float(),
                rank_values[rank_actions].float(),
                bias_actions.squeeze(-1),
            ],
            dim=-1,
        )

        return {
            "actions": actions,
            "sampled_actions": sampled_actions,
            "log_probs": log_probs,
            "state_values": state_values,
            "expert_logits": expert_logits,
            "scope_logits": scope_logits,
            "span_logits": span_logits,
            "rank_logits": rank_logits,
            "bias_raw": bias_raw,
            "encoded_state": encoded_state,
        }

    def _apply_hysteresis(
        self,
        expert_actions: torch.Tensor,
        scope_actions: torch.Tensor,
        span_actions: torch.Tensor,
        rank_actions: torch.Tensor,
        bias_actions: torch.Tensor,
        prev_action: torch.Tensor,
        expert_logits: torch.Tensor,
        scope_logits: torch.Tensor,
        span_logits: torch.Tensor,
        rank_logits: torch.Tensor,
        bias_raw: torch.Tensor,
    ) -> Tuple[torch.Tensor, ...]:
        # a row of zeros is no action (span and rank begin at 1 and 8), so there is nothing to hold on to
        has_prev = prev_action[:, 3] > 0
        prev_expert = prev_action[:, 0].long()
        prev_scope = prev_action[:, 1].long()
        prev_span = (prev_action[:, 2].long() - 1).clamp(min=0)
        prev_rank = torch.log2(prev_action[:, 3].clamp(min=8.0) / 8.0).round().long()
        prev_bias = prev_action[:, 4:5]

        def gain(logits, new, prev):
            new_logit = logits.gather(-1, new.unsqueeze(-1)).squeeze(-1)
            prev_logit = logits.gather(-1, prev.unsqueeze(-1)).squeeze(-1)
            return new_logit - prev_logit

        improvement = 0.4 * gain(expert_logits, expert_actions, prev_expert) + 0.2 * (
            gain(scope_logits, scope_actions, prev_scope)
            + gain(span_logits, span_actions, prev_span)
            + gain(rank_logits, rank_actions, prev_rank)
        )

        should_flip = (improvement > self.hysteresis_tau) | ~has_prev
        expert_actions = torch.where(should_flip, expert_actions, prev_expert)
        scope_actions = torch.where(should_flip, scope_actions, prev_scope)
        span_actions = torch.where(should_flip, span_actions, prev_span)
        rank_actions = torch.where(should_flip, rank_actions, prev_rank)

        bias_flip = ((bias_actions - prev_bias).abs() > 0.2 * self.hysteresis_tau) | ~has_prev.unsqueeze(-1)
        bias_actions = torch.where(bias_flip, bias_actions, prev_bias)

        self.hysteresis_count += should_flip.sum()
        return expert_actions, scope_actions, span_actions, rank_actions, bias_actions

    def get_hysteresis_stats(self) -> Dict[str, float]:
        return {
            "total_hysteresis_blocks": float(self.hysteresis_count.item()),
            "hysteresis_tau": self.hysteresis_tau,
        }


def create_macro_policy(config: Dict, num_experts: int = 3) -> MacroPolicy:
    policy = MacroPolicy(
        num_experts=int(config.get("num_experts", num_experts)),
        chunk_summary_dim=int(config.get("chunk_summary_dim", 512)),
        retrieval_dim=int(config.get("retrieval_dim", 64)),
        vision_dim=int(config.get("vision_dim", 768)),
        value_dim=int(config.get("value_dim", 32)),
        hidden_dim=int(config.get("hidden_dim", 256)),
        num_layers=int(config.get("num_layers", 3)),
        dropout=float(config.get("dropout", 0.1)),
        hysteresis_tau=float(config.get("hysteresis_tau", 0.5)),
        max_span=int(config.get("max_span", 4)),
    )
    logger.info("macro policy with %.2fM parameters", sum(p.numel() for p in policy.parameters()) / 1e6)
    return policy
