"""A base model that is routed: chunk by chunk, a policy says how an expert changes it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from bem2.router.composition_engine import CompositionEngine
from bem2.router.content import chunk_texts, content_scores, states_of
from bem2.router.macro_policy import EXPERT, MacroPolicy


class Routing(NamedTuple):
    """What came of routing.

    Attributes:
        logits: Of the base model, ``(B, L, V)``.
        actions: Of each chunk, ``(T, B, 5)``.
        scale: What the budgets left of the changes, ``(T, B)``.
        violations: Changes over a budget, ``(T, B)``.
    """

    logits: Tensor
    actions: Tensor
    scale: Tensor
    violations: Tensor

    def flip_rate(self) -> float:
        """Return how often the expert changed from a chunk to the next."""
        experts = self.actions[..., EXPERT]
        return float((experts[1:] != experts[:-1]).float().sum() / max(1, experts[1:].numel()))


class AgenticRouter(nn.Module):
    """Routes sequences of byte tokens through a base model.

    Args:
        policy: Chooses the actions.
        engine: Composes the changes.
        base_model: A causal language model; each chunk is a sequence of its own to it.
        chunk_size: Tokens of a chunk.
    """

    def __init__(
        self, policy: MacroPolicy, engine: CompositionEngine, base_model: nn.Module, chunk_size: int = 128
    ) -> None:
        super().__init__()
        self.policy, self.engine, self.base_model, self.chunk_size = policy, engine, base_model, chunk_size

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, *, sample: bool = False, temperature: float = 1.0
    ) -> Routing:
        """Run the base model on each chunk, with the change that the policy asks for.

        Args:
            input_ids: ``(B, L)``, int64.
            attention_mask: ``(B, L)``, 0 where there is padding.
            sample: Whether actions are drawn.
            temperature: Of drawing.
        """
        last = torch.zeros(len(input_ids), 5, device=input_ids.device)
        found = []
        for index, start in enumerate(range(0, input_ids.shape[1], self.chunk_size)):
            part = slice(start, start + self.chunk_size)
            ids, mask = input_ids[:, part], None if attention_mask is None else attention_mask[:, part]
            scores = [content_scores(text) for text in chunk_texts(ids)]
            state = states_of(scores, index, last, self.policy.config)
            last = self.policy.act(state, sample=sample, temperature=temperature)[2]
            composed = self.engine.compose(last)
            with self.engine.applied(self.base_model, composed):
                logits = self.base_model(ids, attention_mask=mask).logits
            found.append((logits, last, composed.scale, composed.violations))
        logits, *rest = zip(*found, strict=True)
        return Routing(torch.cat(logits, 1), *(torch.stack(part) for part in rest))
