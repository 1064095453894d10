"""Expert traces that are made up: documents of a domain, chunk by chunk, and what an expert router does with each."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bem2.router.content import DOMAINS, PHRASES, content_scores, summaries
from bem2.router.macro_policy import MacroAction, MacroPolicyState
from bem2.router.settings import PolicyConfig, TraceConfig

#: What the expert of each domain does; the span is one longer where its expert had the chunk before too.
PROFILES = (
    MacroAction(0, "local", 2, 32, 1.0),
    MacroAction(1, "global", 3, 64, 1.4),
    MacroAction(2, "global", 1, 16, 0.7),
)


class TraceStep(NamedTuple):
    """A chunk of a trace.

    Attributes:
        state: What the policy sees, without a dimension for the batch.
        action: What the expert does, ``(5,)``.
    """

    state: MacroPolicyState
    action: Tensor


class TraceGenerator:
    """Makes traces; the same ones for the same seed, and nothing outside of it draws other numbers.

    Args:
        config: What to make.
        policy: Widths of what the policy sees.
        seed: Of both generators.
    """

    def __init__(self, config: TraceConfig, policy: PolicyConfig, seed: int) -> None:
        self._config, self._policy = config, policy
        self._random = random.Random(seed)
        self._noise = torch.Generator().manual_seed(seed)

    def traces(self) -> Iterator[list[TraceStep]]:
        """Yield ``num_traces`` traces."""
        domains = [domain.lower() for domain in self._config.domain_distribution]
        weights = list(self._config.domain_distribution.values())
        for _ in range(self._config.num_traces):
            yield self._trace(self._random.choices(domains, weights=weights)[0])

    def _trace(self, domain: str) -> list[TraceStep]:
        most = self._config.max_chunks_per_trace
        steps: list[TraceStep] = []
        last: MacroAction | None = None
        for index in range(self._random.randint(min(2, most), most)):
            scores = content_scores(self._text(self._random.choice(DOMAINS) if domain == "mixed" else domain))
            action = expert_action(scores, index, last)
            steps.append(TraceStep(self._state(scores, index, last), action.to_tensor()))
            last = action
        return steps

    def _text(self, domain: str) -> str:
        text, size = "", self._config.chunk_size
        while len(text) < size:
            text += self._random.choice(PHRASES[domain]) + " "
        return text[:size]

    def _state(self, scores: list[float], index: int, last: MacroAction | None) -> MacroPolicyState:
        policy = self._policy
        summary = summaries(torch.tensor([scores]), policy.chunk_summary_dim)[0]
        value = torch.zeros(policy.value_dim)
        value[0] = max(scores)
        return MacroPolicyState(
            chunk_summary=summary + 0.1 * torch.randn(policy.chunk_summary_dim, generator=self._noise),
            retrieval_features=0.1 * torch.randn(policy.retrieval_dim, generator=self._noise),
            vision_features=torch.zeros(policy.vision_dim),
            value_features=value,
            prev_action=torch.zeros(5) if last is None else last.to_tensor(),
            chunk_index=torch.tensor(index),
        )


def expert_action(scores: list[float], index: int, last: MacroAction | None) -> MacroAction:
    """Return what the expert does with a chunk.

    Args:
        scores: What it is about.
        index: Its number; at the first one the scope is the whole document.
        last: What was done with the one before.
    """
    profile = PROFILES[scores.index(max(scores))]
    again = last is not None and last.expert_id == profile.expert_id
    changes: dict[str, Any] = {"span": profile.span + again, "scope": profile.scope if index else "global"}
    return MacroAction(**{**vars(profile), **changes})
