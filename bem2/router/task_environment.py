"""Tasks that pay for routing: documents whose chunks each need a fitting expert, at little cost.

Shapes: B documents, T chunks of each, C domains.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bem2.router.content import DOMAINS, PHRASES, SHORTEST, content_scores, states_of
from bem2.router.macro_policy import EXPERT, RANK, SCOPE, MacroPolicyState
from bem2.router.settings import EnvironmentConfig, PolicyConfig

_FORMAL = DOMAINS.index("formal")


class Task(NamedTuple):
    """One kind of document.

    Attributes:
        mixture: Share of each domain.
        weights: What performance, efficiency and care for the cache count in the reward.
    """

    mixture: tuple[float, float, float]
    weights: tuple[float, float, float]


TASKS = {"code": Task((0.6, 0.2, 0.2), (0.6, 0.2, 0.2)), "formal": Task((0.2, 0.6, 0.2), (0.7, 0.15, 0.15))}


class Documents(NamedTuple):
    """B documents.

    Attributes:
        domains: What each chunk is about, ``(B, T)``, int64.
        scores: What is read from its bytes, B lists of T lists of C numbers.
        weights: Of the parts of the reward, ``(B, 3)``, float64.
        text: The documents.
    """

    domains: Tensor
    scores: list[list[list[float]]]
    weights: Tensor
    text: list[str]


class Rewards(NamedTuple):
    """What B actions are paid for; float64, ``(B,)`` each."""

    performance: Tensor
    efficiency: Tensor
    cache_safety: Tensor
    total: Tensor


class TaskEnvironment:
    """Documents, what the policy sees of their chunks, and rewards.

    Args:
        config: Which documents.
        policy: Widths of what the policy sees.
    """

    def __init__(self, config: EnvironmentConfig, policy: PolicyConfig) -> None:
        self.config, self._policy = config, policy
        self.num_chunks = config.max_sequence_length // config.chunk_size

    def documents(self, generators: Sequence[torch.Generator | None]) -> Documents:
        """Make documents.

        Args:
            generators: Of each of them; None for the global one of torch.
        """
        made = [self._document(generator) for generator in generators]
        domains, texts, tasks = zip(*made, strict=True)
        size = self.config.chunk_size
        chunks = [[text[at : at + size] for at in range(0, len(text), size)] for text in texts]
        scores = [[content_scores(chunk) for chunk in document] for document in chunks]
        weights = torch.tensor([TASKS[task].weights for task in tasks], dtype=torch.float64)
        return Documents(torch.stack(domains), scores, weights, list(texts))

    def _document(self, generator: torch.Generator | None) -> tuple[Tensor, str, str]:
        task = self._task(generator)
        mixture, size = torch.tensor(TASKS[task].mixture), self.config.chunk_size
        domains = torch.multinomial(mixture, self.num_chunks, replacement=True, generator=generator)
        picks = torch.randint(len(PHRASES["code"]), (self.num_chunks, size // SHORTEST + 1), generator=generator)
        rows = zip(domains.tolist(), picks.tolist(), strict=True)
        texts = (" ".join(PHRASES[DOMAINS[domain]][one] for one in row) for domain, row in rows)
        return domains, "".join(text[:size].ljust(size) for text in texts), task

    def _task(self, generator: torch.Generator | None) -> str:
        if self.config.type != "multi":
            return self.config.type
        names, weights = zip(*self.config.task_weights.items(), strict=True)
        return str(names[int(torch.multinomial(torch.tensor(weights), 1, generator=generator))])

    def observe(self, documents: Documents, step: int, prev_action: Tensor) -> MacroPolicyState:
        """Return what the policy sees of the chunks with a number.

        Args:
            documents: B of them.
            step: Number of the chunks.
            prev_action: What was done with the chunks before, ``(B, 5)``; rows of zeros at the beginning.
        """
        scores = [document[step] for document in documents.scores]
        return states_of(scores, step, prev_action, self._policy)

    def reward(self, documents: Documents, step: int, actions: Tensor, prev_action: Tensor) -> Rewards:
        """Return what actions are worth.

        Performance is 1 for the expert of the chunk's domain, less where it lacks rank: proofs need 32, the rest 8.
        Efficiency falls with the rank. Half of the care for the cache is lost by changing the expert, half by a scope
        beyond the chunk.

        Args:
            documents: B of them.
            step: Number of the chunks.
            actions: What is done with them, ``(B, 5)``.
            prev_action: What was done with the chunks before.
        """
        domain = documents.domains[:, step]
        now, before = actions.cpu().double(), prev_action.cpu().double()
        needed = torch.where(domain == _FORMAL, 32.0, 8.0).double()
        fits = now[:, EXPERT] == domain
        performance = fits.double() * (now[:, RANK] / needed).clamp(max=1.0)
        efficiency = 1.0 - now[:, RANK] / 64.0
        flipped = (before[:, RANK] > 0) & (now[:, EXPERT] != before[:, EXPERT])
        safety = 1.0 - 0.5 * flipped.double() - 0.5 * (now[:, SCOPE] > 0.5).double()
        first, second, third = documents.weights.unbind(1)
        total = first * performance + second * efficiency + third * safety
        return Rewards(performance, efficiency, safety, total)
