"""Policy over macro actions: expert, scope, span, rank budget and bias scale."""

import logging
from dataclasses import dataclass
from typing import Dict, NamedTuple, Optional

import torch
import torch.nn as nn

logger = logging.getLogger(__name__)

RANKS = (8, 16, 32, 64)


@dataclass
class MacroAction:
    expert_id: int
    scope: str
    span: int
    rank_budget: int
    bias_scale: float

    def to_tensor(self, device: torch.device) -> torch.Tensor:
        scope = 1.0 if self.scope == "global" else 0.0
        return torch.tensor(
            [self.expert_id, scope, self.span, self.rank_budget, self.bias_scale], device=device, dtype=torch.float32
        )

    @classmethod
    def from_tensor(cls, action_tensor: torch.Tensor) -> "MacroAction":
        expert, scope, span, rank, bias = action_tensor.tolist()
        return cls(int(expert), "global" if scope > 0.5 else "local", int(span), int(rank), bias)


class MacroPolicyState(NamedTuple):
    chunk_summary: torch.Tensor
    retrieval_features: torch.Tensor
    vision_features: torch.Tensor
    value_features: torch.Tensor
    prev_action: Optional[torch.Tensor]
    chunk_index: torch.Tensor


class MacroPolicy(nn.Module):
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
        quarter = hidden_dim // 4
        self.chunk_encoder = nn.Linear(chunk_summary_dim, hidden_dim)
        self.aux_encoders = nn.ModuleList(
            nn.Linear(dim, quarter) for dim in (retrieval_dim, vision_dim, value_dim, 5, 1)
        )
        self.aux_merge = nn.Linear(5 * quarter, hidden_dim)
        layer = nn.TransformerEncoderLayer(hidden_dim, 8, dropout=dropout, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, num_layers)
        sizes = {"expert": num_experts, "scope": 2, "span": max_span, "rank": len(RANKS)}
        self.heads = nn.ModuleDict({name: nn.Linear(hidden_dim, size) for name, size in sizes.items()})
        self.bias_head = nn.Linear(hidden_dim, 1)
        self.value_head = nn.Linear(hidden_dim, 1)
        self.hysteresis_tau = hysteresis_tau
        self.register_buffer("hysteresis_count", torch.tensor(0))

    def encode_state(self, state: MacroPolicyState) -> torch.Tensor:
        batch = state.chunk_summary.shape[0]
        previous = state.prev_action if state.prev_action is not None else torch.zeros(batch, 5)
        inputs = (state.retrieval_features, state.vision_features, state.value_features, previous)
        aux = [encoder(x.float()) for encoder, x in zip(self.aux_encoders, inputs)]
        aux.append(self.aux_encoders[-1](state.chunk_index.float().reshape(batch, 1)))
        x = self.chunk_encoder(state.chunk_summary) + self.aux_merge(torch.cat(aux, dim=-1))
        return self.encoder(x.unsqueeze(1)).squeeze(1)

    def forward(
        self, state: MacroPolicyState, sample: bool = True, temperature: float = 1.0
    ) -> Dict[str, torch.Tensor]:
        hidden = self.encode_state(state)
        logits = {name: head(hidden) / temperature for name, head in self.heads.items()}
        picks, log_prob = {}, torch.zeros(hidden.shape[0])
        for name, values in logits.items():
            categorical = torch.distributions.Categorical(logits=values)
            picks[name] = categorical.sample() if sample else values.argmax(dim=-1)
            log_prob = log_prob + categorical.log_prob(picks[name])
        bias = 0.1 + 1.9 * torch.sigmoid(self.bias_head(hidden))
        ranks = torch.tensor(RANKS)[picks["rank"]]
        columns = [picks["expert"], picks["scope"], picks["span"] + 1, ranks]
        actions = torch.cat([torch.stack(columns, dim=-1).float(), bias], dim=-1)
        return {
            "actions": actions,
            "log_probs": log_prob,
            "state_values": self.value_head(hidden).squeeze(-1),
            "bias_raw": bias,
            "encoded_state": hidden,
            **{f"{name}_logits": values for name, values in logits.items()},
        }

    def get_hysteresis_stats(self) -> Dict[str, float]:
        return {"hysteresis_count": float(self.hysteresis_count)}


def create_macro_policy(config: Dict, num_experts: int = 3) -> MacroPolicy:
    return MacroPolicy(**{"num_experts": num_experts, **config})
