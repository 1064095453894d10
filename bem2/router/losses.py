"""Losses of the two phases, and the advantages that the second one needs.

Shapes: B states, T steps of a rollout.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from bem2.router.macro_policy import BIAS, PolicyOutput, to_indices
from bem2.router.settings import PPOConfig

#: Parts of the cloning loss and what each counts, unless ``training.loss_weights`` says otherwise.
CLONING_WEIGHTS = {"expert": 2.0, "scope": 1.0, "span": 1.0, "rank": 1.0, "bias": 1.0}


def cloning_loss(output: PolicyOutput, actions: Tensor, weights: Mapping[str, float]) -> dict[str, Tensor]:
    """Compute how far a policy is from the actions of an expert.

    Cross-entropy for each of the four choices, which is the negative log-likelihood of behaviour cloning, and squared
    error for the bias scale.

    Args:
        output: Of B states.
        actions: What the expert did, ``(B, 5)``.
        weights: Of the parts, by the names of `CLONING_WEIGHTS`.
    """
    names = ("expert", "scope", "span", "rank")
    parts = {
        name: functional.cross_entropy(scores, index)
        for name, scores, index in zip(names, output.scores, to_indices(actions), strict=True)
    }
    parts["bias"] = functional.mse_loss(output.bias, actions[:, BIAS])
    first, *rest = (weights[name] * part for name, part in parts.items())
    return {"loss": sum(rest, start=first), **{f"{name}_loss": part for name, part in parts.items()}}


def advantages(rewards_TB: Tensor, values_TB: Tensor, gamma: float, gae_lambda: float) -> Tensor:
    """Compute the advantage of each step over what was expected, ``(T, B)``.

    The estimator of Schulman et al., https://arxiv.org/abs/1506.02438, eq. 16; nothing comes after the last step.
    """
    found = torch.zeros_like(rewards_TB)
    after, carried = torch.zeros_like(values_TB[0]), torch.zeros_like(values_TB[0])
    for step in reversed(range(len(rewards_TB))):
        surprise = rewards_TB[step] + gamma * after - values_TB[step]
        carried = surprise + gamma * gae_lambda * carried
        found[step], after = carried, values_TB[step]
    return found


def normalized(values: Tensor) -> Tensor:
    """Return values with mean 0 and standard deviation 1 over all of them."""
    flat = values.flatten()
    return (values - flat.mean()) / (flat.std() + 1e-8)


def ppo_loss(output: PolicyOutput, batch: Mapping[str, Tensor], config: PPOConfig) -> dict[str, Tensor]:
    """Compute the clipped objective of Schulman et al., https://arxiv.org/abs/1707.06347, eq. 7 and 9.

    Args:
        output: Of B states, as the policy is now.
        batch: ``actions`` that were taken, ``(B, 5)``; ``log_probs`` of them under the old policy, ``advantages`` and
            ``targets`` of the values, ``(B,)`` each.
        config: Coefficients.

    Returns:
        ``loss``, its parts, and ``kl``, the estimate E[log old - log new] of the divergence from the old policy.
    """
    new, old, advantage = output.log_prob(batch["actions"]), batch["log_probs"], batch["advantages"]
    ratio = torch.exp(new - old)
    clipped = torch.clamp(ratio, 1.0 - config.clip_ratio, 1.0 + config.clip_ratio)
    policy = -torch.min(ratio * advantage, clipped * advantage).mean()
    value = functional.mse_loss(output.value, batch["targets"])
    loss = policy + config.value_loss_coeff * value
    parts = {"policy_loss": policy, "value_loss": value, "kl": (old - new.detach()).mean()}
    if config.entropy_coeff:
        parts["entropy"] = output.entropy().mean()
        loss = loss - config.entropy_coeff * parts["entropy"]
    return {"loss": loss, **parts}
