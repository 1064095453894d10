"""The policy over macro actions: which expert, scope, span and rank budget, and how strong.

Shapes: B states, H hidden, E experts, S spans. An action is a row of five numbers: number of the expert, 1 for global
and 0 for local scope, span in chunks from 1 on, rank budget, bias scale in [0.1, 2]. A row of zeros is no action.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bem2.router.settings import NUM_HEADS, PolicyConfig

EXPERT, SCOPE, SPAN, RANK, BIAS = range(5)
#: Rank budgets that an action may ask for.
RANKS = (8, 16, 32, 64)


@dataclass(frozen=True)
class MacroAction:
    """One action in words.

    Attributes:
        scope: ``local`` or ``global``.
        span: Chunks that it is good for, from 1 on.
        bias_scale: What the expert's change is multiplied with, in [0.1, 2].
    """

    expert_id: int
    scope: str
    span: int
    rank_budget: int
    bias_scale: float

    def to_tensor(self, device: torch.device | str = "cpu") -> Tensor:
        """Return it as a row of five numbers."""
        row = [self.expert_id, self.scope == "global", self.span, self.rank_budget, self.bias_scale]
        return torch.tensor(row, dtype=torch.float32, device=device)

    @classmethod
    def from_tensor(cls, action: Tensor) -> MacroAction:
        """Return a row of five numbers in words."""
        expert, scope, span, rank, bias = action.tolist()
        return cls(round(expert), "global" if scope > 0.5 else "local", round(span), round(rank), bias)


class MacroPolicyState(NamedTuple):
    """What the policy sees of a chunk.

    Attributes:
        chunk_summary: ``(B, chunk_summary_dim)``.
        retrieval_features: ``(B, retrieval_dim)``.
        vision_features: ``(B, vision_dim)``.
        value_features: ``(B, value_dim)``.
        prev_action: The action of the chunk before, ``(B, 5)``.
        chunk_index: ``(B,)``, int64.
    """

    chunk_summary: Tensor
    retrieval_features: Tensor
    vision_features: Tensor
    value_features: Tensor
    prev_action: Tensor
    chunk_index: Tensor


class PolicyOutput(NamedTuple):
    """Scores of the four choices, the bias scale and the value of a state.

    Attributes:
        expert: ``(B, E)``.
        scope: ``(B, 2)``.
        span: ``(B, S)``.
        rank: ``(B, 4)``, for each of `RANKS`.
        bias: Bias scale, ``(B,)``, in [0.1, 2].
        value: Expected return, ``(B,)``.
    """

    expert: Tensor
    scope: Tensor
    span: Tensor
    rank: Tensor
    bias: Tensor
    value: Tensor

    @property
    def scores(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Those of the four choices, in the order of an action's columns."""
        return self.expert, self.scope, self.span, self.rank

    def log_probs(self, temperature: float = 1.0) -> list[Tensor]:
        """Return the log-probabilities of all alternatives of the four choices."""
        scores = [one / temperature for one in self.scores]
        return [one - one.logsumexp(-1, keepdim=True) for one in scores]

    def best(self) -> Tensor:
        """Return the most likely action of each state, ``(B, 5)``."""
        return to_actions([one.argmax(-1) for one in self.scores], self.bias)

    def log_prob(self, actions: Tensor) -> Tensor:
        """Return the log-probability of actions ``(B, 5)``, that of their bias scale, which is not drawn, left out."""
        parts = zip(self.log_probs(), to_indices(actions), strict=True)
        expert, scope, span, rank = (one.gather(-1, index.unsqueeze(-1)).squeeze(-1) for one, index in parts)
        return expert + scope + span + rank

    def entropy(self) -> Tensor:
        """Return the entropy of the four choices together, in nats, ``(B,)``."""
        return torch.stack([-(one.exp() * one).sum(-1) for one in self.log_probs()]).sum(0)


def to_actions(indices: list[Tensor], bias: Tensor) -> Tensor:
    """Return the actions ``(B, 5)`` for the indices ``(B,)`` of the four choices."""
    expert, scope, span, rank = indices
    ranks = torch.tensor(RANKS, device=rank.device)[rank]
    return torch.stack([expert.float(), scope.float(), (span + 1).float(), ranks.float(), bias], -1)


def to_indices(actions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the indices ``(B,)`` of the four choices of actions; those of no action are 0."""
    expert, scope, span = (actions[:, column].long() for column in (EXPERT, SCOPE, SPAN))
    rank = torch.log2(actions[:, RANK].clamp(min=RANKS[0]) / RANKS[0]).round().long()
    return expert, scope, (span - 1).clamp(min=0), rank


class MacroPolicy(nn.Module):
    """An encoder over the state of a chunk, with a head for each part of an action.

    Args:
        config: Sizes.
    """

    def __init__(self, config: PolicyConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or PolicyConfig()
        hidden, quarter = config.hidden_dim, config.hidden_dim // 4
        self.chunk_proj = nn.Linear(config.chunk_summary_dim, hidden)
        self.retrieval_proj = nn.Linear(config.retrieval_dim, quarter)
        self.vision_proj = nn.Linear(config.vision_dim, quarter)
        self.value_proj = nn.Linear(config.value_dim, quarter)
        self.action_proj = nn.Linear(5, quarter)
        self.pos_proj = nn.Linear(1, quarter)
        layer = nn.TransformerEncoderLayer(hidden, NUM_HEADS, 4 * hidden, config.dropout, batch_first=True)
        self.state_encoder = nn.TransformerEncoder(layer, config.num_layers)
        self.expert_head = nn.Linear(hidden, config.num_experts)
        self.scope_head = nn.Linear(hidden, 2)
        self.span_head = nn.Linear(hidden, config.max_span)
        self.rank_head = nn.Linear(hidden, len(RANKS))
        self.bias_head = nn.Linear(hidden, 1)
        self.value_head = nn.Linear(hidden, 1)
        self._initialise()

    def _initialise(self) -> None:
        """Begin with nearly even choices and a bias scale of 1.05."""
        for head in (
            self.expert_head,
            self.scope_head,
            self.span_head,
            self.rank_head,
            self.bias_head,
            self.value_head,
        ):
            if head is self.bias_head:
                nn.init.zeros_(head.weight)
            else:
                nn.init.xavier_uniform_(head.weight, gain=0.1)
            nn.init.zeros_(head.bias)

    def encode(self, state: MacroPolicyState) -> Tensor:
        """Return the encoded states, ``(B, H)``."""
        position = self.pos_proj(state.chunk_index.float().unsqueeze(-1))
        # Five quarters are to fit into the hidden width; position and retrieval share one.
        parts = [
            self.retrieval_proj(state.retrieval_features) + position,
            self.vision_proj(state.vision_features),
            self.value_proj(state.value_features),
            self.action_proj(state.prev_action),
        ]
        mixed = self.chunk_proj(state.chunk_summary) + torch.cat(parts, -1)
        encoded: Tensor = self.state_encoder(mixed.unsqueeze(1)).squeeze(1)
        return encoded

    def forward(self, state: MacroPolicyState) -> PolicyOutput:
        """Return the scores of the choices for each state."""
        hidden = self.encode(state)
        return PolicyOutput(
            expert=self.expert_head(hidden),
            scope=self.scope_head(hidden),
            span=self.span_head(hidden),
            rank=self.rank_head(hidden),
            bias=(0.1 + 1.9 * torch.sigmoid(self.bias_head(hidden))).squeeze(-1),
            value=self.value_head(hidden).squeeze(-1),
        )

    def act(
        self, state: MacroPolicyState, *, sample: bool, temperature: float = 1.0
    ) -> tuple[PolicyOutput, Tensor, Tensor]:
        """Choose an action for each state, and keep the last one where the new one is not clearly better.

        Args:
            state: Of B chunks.
            sample: Whether the choices are drawn; the most likely ones are taken otherwise.
            temperature: What the scores are divided by before they are drawn from.

        Returns:
            The output of the policy, the actions that it chose, and those that are carried out, ``(B, 5)`` each.
        """
        output = self(state)
        if sample:
            drawn = [torch.multinomial(one.softmax(-1), 1, replacement=True) for one in output.log_probs(temperature)]
            chosen = to_actions([one.squeeze(-1) for one in drawn], output.bias)
        else:
            chosen = output.best()
        return output, chosen, self.hold(output, chosen, state.prev_action)

    def hold(self, output: PolicyOutput, chosen: Tensor, prev_action: Tensor) -> Tensor:
        """Return the new actions where their scores are better than those of the last ones by ``hysteresis_tau``.

        The gain is 0.4 of that of the expert and 0.2 of those of scope, span and rank. All four change together, the
        bias scale by itself, if it moves by more than a fifth of the threshold. A row of zeros is held by nothing.
        """
        free = prev_action[:, RANK] <= 0
        new, old = to_indices(chosen), to_indices(prev_action)
        expert, scope, span, rank = (
            (scores.gather(-1, after.unsqueeze(-1)) - scores.gather(-1, before.unsqueeze(-1))).squeeze(-1)
            for scores, after, before in zip(output.scores, new, old, strict=True)
        )
        gain = 0.4 * expert + 0.2 * (scope + span + rank)
        change = (gain > self.config.hysteresis_tau) | free
        moved = ((chosen[:, BIAS] - prev_action[:, BIAS]).abs() > 0.2 * self.config.hysteresis_tau) | free
        mask = torch.cat([change.unsqueeze(-1).expand(-1, BIAS), moved.unsqueeze(-1)], -1)
        return torch.where(mask, chosen, prev_action)
