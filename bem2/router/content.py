"""What chunks of text are about, and what the policy sees of it.

Texts are synthetic: a domain's phrases, one after the other. What a chunk is about is read from its bytes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from bem2.router.macro_policy import MacroPolicyState
from bem2.router.settings import PolicyConfig

#: In the order of their experts.
DOMAINS = ("code", "formal", "safety")
PHRASES: dict[str, tuple[str, ...]] = {
    "code": (
        "def add(self, x): return x",
        "import os for path in paths:",
        "class Tree: def walk(self):",
        "return [f(x) for x in rows]",
    ),
    "formal": (
        "theorem: forall x, p implies q",
        "proof by lemma 2, hence done",
        "hence the lemma implies it",
        "forall n the theorem holds",
    ),
    "safety": (
        "avoid harm and protect users",
        "a risk to privacy needs consent",
        "danger: ask for consent first",
        "protect privacy, name the risk",
    ),
}
#: Length of the shortest phrase.
SHORTEST = min(len(phrase) for phrases in PHRASES.values() for phrase in phrases)
_WORDS = {
    "code": "def class return import for self",
    "formal": "theorem proof lemma hence implies forall",
    "safety": "harm risk privacy consent danger protect",
}
_PATTERNS = [re.compile(rf"\b(?:{'|'.join(_WORDS[domain].split())})\b") for domain in DOMAINS]


def content_scores(text: str) -> list[float]:
    """Return how much of a text is about each of `DOMAINS`; they sum to 1."""
    counts = [len(pattern.findall(text.lower())) for pattern in _PATTERNS]
    total = sum(counts)
    return [count / total for count in counts] if total else [1.0 / len(DOMAINS)] * len(DOMAINS)


def chunk_texts(input_ids_BL: Tensor) -> list[str]:
    """Return chunks of byte tokens, ``(B, L)``, as texts; other tokens than bytes count for nothing."""
    rows = input_ids_BL.tolist()
    return [bytes(token for token in row if token < 256).decode("latin-1") for row in rows]


def summaries(scores_BC: Tensor, size: int) -> Tensor:
    """Return the scores of each chunk as a vector, ``(B, size)``: a third for each domain, the rest for the last."""
    third = size // len(DOMAINS)
    repeats = torch.tensor([third, third, size - 2 * third], device=scores_BC.device)
    return scores_BC.repeat_interleave(repeats, dim=1, output_size=size)


def states_of(
    scores: Sequence[Sequence[float]], index: int, prev_action: Tensor, config: PolicyConfig
) -> MacroPolicyState:
    """Return what the policy sees of chunks.

    Args:
        scores: What each of B chunks is about.
        index: Number of the chunks in their documents.
        prev_action: Of the chunks before, ``(B, 5)``; rows of zeros at the beginning.
        config: Widths.
    """
    device = prev_action.device
    scores_BC = torch.tensor(scores, device=device)
    size = len(scores_BC)
    value = torch.zeros(size, config.value_dim, device=device)
    value[:, 0] = scores_BC.amax(1)
    return MacroPolicyState(
        chunk_summary=summaries(scores_BC, config.chunk_summary_dim),
        retrieval_features=torch.zeros(size, config.retrieval_dim, device=device),
        vision_features=torch.zeros(size, config.vision_dim, device=device),
        value_features=value,
        prev_action=prev_action,
        chunk_index=torch.full((size,), index, device=device),
    )
