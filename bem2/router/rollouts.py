"""Rollouts: what a policy did in its task, and what it is to learn from that.

Shapes: B documents, T steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bem2.router.losses import advantages, normalized
from bem2.router.macro_policy import EXPERT, RANK, MacroPolicy, MacroPolicyState
from bem2.router.settings import PPOConfig
from bem2.router.task_environment import TaskEnvironment

Generators = Sequence[torch.Generator | None]


class Rollout(NamedTuple):
    """What happened in T steps.

    Attributes:
        states: Of each step.
        chosen: What the policy chose, ``(T, B, 5)``.
        done: What was carried out, ``(T, B, 5)``.
        log_probs: Of what it chose, ``(T, B)``.
        values: What it expected, ``(T, B)``.
        rewards: What it got, ``(T, B)``.
        performance: The part of the reward for the result, ``(T, B)``.
    """

    states: list[MacroPolicyState]
    chosen: Tensor
    done: Tensor
    log_probs: Tensor
    values: Tensor
    rewards: Tensor
    performance: Tensor

    def flip_rate(self) -> Tensor:
        """Return how often the expert changed from a chunk to the next, ``(B,)``."""
        experts = self.done[..., EXPERT]
        return (experts[1:] != experts[:-1]).float().sum(0) / max(1, len(experts) - 1)

    def mean_rank(self) -> Tensor:
        """Return the mean rank budget, ``(B,)``."""
        return self.done[..., RANK].mean(0)


@torch.no_grad()
def collect(
    policy: MacroPolicy, environment: TaskEnvironment, generators: Generators, horizon: int, *, sample: bool
) -> Rollout:
    """Let a policy route new documents.

    Args:
        policy: In whatever mode it is.
        environment: Makes the documents and pays.
        generators: Of each of the B documents; None for the global one of torch.
        horizon: Chunks of a document at most.
        sample: Whether actions are drawn; the most likely ones are taken otherwise.
    """
    documents = environment.documents(generators)
    device = next(policy.parameters()).device
    last = torch.zeros(len(generators), 5, device=device)
    states, steps = [], []
    for step in range(min(horizon, environment.num_chunks)):
        state = environment.observe(documents, step, last)
        output, chosen, done = policy.act(state, sample=sample)
        paid = environment.reward(documents, step, done, last)
        reward, performance = (one.float().to(device) for one in (paid.total, paid.performance))
        states.append(state)
        steps.append((chosen, done, output.log_prob(chosen), output.value, reward, performance))
        last = done
    return Rollout(states, *(torch.stack(part) for part in zip(*steps, strict=True)))


def batches(rollout: Rollout, config: PPOConfig) -> Iterator[dict[str, Any]]:
    """Yield T batches of B states of a rollout: ``state`` and what `bem2.router.losses.ppo_loss` takes."""
    found = advantages(rollout.rewards, rollout.values, config.discount_factor, config.gae_lambda)
    weights = normalized(found)
    targets = found + rollout.values if config.value_target == "returns" else rollout.rewards + weights
    state: Sequence[Tensor] = [torch.stack(part) for part in zip(*rollout.states, strict=True)]
    parts = [*state, rollout.chosen, rollout.log_probs, weights, targets]
    if config.minibatches == "shuffled":
        parts = _shuffled(parts)
    for step in range(len(weights)):
        *fields, actions, log_probs, advantage, target = (part[step] for part in parts)
        yield {
            "state": MacroPolicyState(*fields),
            "actions": actions,
            "log_probs": log_probs,
            "advantages": advantage,
            "targets": target,
        }


def _shuffled(parts: list[Tensor]) -> list[Tensor]:
    """Return tensors ``(T, B, ...)`` with their first two dimensions in another order, the same one for all."""
    steps, size = parts[0].shape[:2]
    order = torch.randperm(steps * size).to(parts[0].device).view(steps, size)
    return [part.flatten(0, 1)[order] for part in parts]
