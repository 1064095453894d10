"""The policy: actions, probabilities, hysteresis, and losses, by hand and against torch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Categorical

from bem2.router.losses import CLONING_WEIGHTS, advantages, cloning_loss, normalized, ppo_loss
from bem2.router.macro_policy import RANKS, MacroAction, MacroPolicy, PolicyOutput, to_actions, to_indices
from bem2.router.settings import PolicyConfig, PPOConfig
from bem_core.utils.seeding import seed_everything
from tests.router.jobs import POLICY
from tests.router.test_learning import states

ACTIONS = st.builds(
    MacroAction,
    expert_id=st.integers(0, 7),
    scope=st.sampled_from(["local", "global"]),
    span=st.integers(1, 4),
    rank_budget=st.sampled_from(RANKS),
    bias_scale=st.floats(0.125, 2, width=32),
)


@given(st.lists(ACTIONS, min_size=1, max_size=5))
def test_an_action_is_the_same_in_words_numbers_and_indices(actions: list[MacroAction]) -> None:
    rows = torch.stack([action.to_tensor() for action in actions])
    assert [MacroAction.from_tensor(row) for row in rows] == actions
    assert torch.equal(to_actions(list(to_indices(rows)), rows[:, 4]), rows)


def output_of(seed: int = 0, size: int = 5, experts: int = 3) -> PolicyOutput:
    generator = torch.Generator().manual_seed(seed)
    scores = [torch.randn(size, width, generator=generator) * 2 for width in (experts, 2, 4, 4)]
    return PolicyOutput(*scores, torch.full((size,), 1.0), torch.zeros(size))


def test_probabilities_and_entropy_are_those_of_torch() -> None:
    output = output_of()
    actions = output_of(1).best()
    dists = [Categorical(logits=one) for one in output.scores]
    expected = [one.log_prob(index) for one, index in zip(dists, to_indices(actions), strict=True)]
    assert torch.allclose(output.log_prob(actions), torch.stack(expected).sum(0))
    assert torch.allclose(output.entropy(), torch.stack([one.entropy() for one in dists]).sum(0))


def test_drawn_actions_have_the_probabilities_of_the_scores() -> None:
    policy, count = MacroPolicy(PolicyConfig(**POLICY, hysteresis_tau=-100.0)).eval(), 20_000
    torch.nn.init.normal_(policy.expert_head.weight)
    state = states(1, policy.config)
    many = type(state)(*(part.expand(count, *part.shape[1:]) for part in state))
    seed_everything(0)
    with torch.no_grad():
        output, chosen, done = policy.act(many, sample=True)
    shares = torch.bincount(chosen[:, 0].long(), minlength=3) / count
    assert torch.allclose(shares, output.expert[0].softmax(-1), atol=0.02)
    assert torch.equal(chosen, done)


# Scores of the experts; those of the other choices are even, so the gain is 0.4 of what the expert gains.
HOLDS: dict[str, tuple[list[float], list[float], float, list[float]]] = {
    "better-by-enough": ([2.0, 0.0, 0.0], [1, 0, 1, 8, 0.5], 0.5, [0, 0, 1, 8, 1.0]),
    "not-enough": ([1.0, 0.0, 0.0], [1, 1, 3, 32, 0.5], 0.5, [1, 1, 3, 32, 1.0]),
    "just-not": ([1.25, 0.0, 0.0], [1, 1, 3, 32, 0.95], 0.5, [1, 1, 3, 32, 0.95]),
    "bias-by-itself": ([2.0, 0.0, 0.0], [1, 0, 1, 8, 0.95], 0.5, [0, 0, 1, 8, 0.95]),
    "no-threshold": ([0.0, 1.0, 0.0], [0, 1, 4, 64, 0.9], -10.0, [1, 0, 1, 8, 1.0]),
    "nothing-to-hold": ([0.1, 0.0, 0.0], [0, 0, 0, 0, 0], 0.5, [0, 0, 1, 8, 1.0]),
}


@pytest.mark.parametrize(("scores", "last", "tau", "expected"), HOLDS.values(), ids=HOLDS)
def test_hysteresis(scores: list[float], last: list[float], tau: float, expected: list[float]) -> None:
    policy = MacroPolicy(PolicyConfig(**POLICY, hysteresis_tau=tau))
    even = [torch.zeros(1, width) for width in (2, 4, 4)]
    output = PolicyOutput(torch.tensor([scores]), *even, torch.ones(1), torch.zeros(1))
    held = policy.hold(output, output.best(), torch.tensor([last]))
    assert held[0].tolist() == pytest.approx(expected)


def test_position_and_last_action_matter() -> None:
    """The old policy could not run at all; cut to fit, it would have lost the position."""
    policy = MacroPolicy(PolicyConfig(**POLICY)).eval()
    state = states(1, policy.config)
    one = policy.encode(state)
    assert not torch.allclose(one, policy.encode(state._replace(chunk_index=state.chunk_index + 1)))
    assert not torch.allclose(one, policy.encode(state._replace(prev_action=state.prev_action * 2)))


def test_cloning_loss_by_hand() -> None:
    output = PolicyOutput(
        torch.zeros(2, 3), torch.zeros(2, 2), torch.zeros(2, 4), torch.zeros(2, 4), torch.ones(2), torch.zeros(2)
    )
    actions = torch.tensor([[2.0, 1.0, 4.0, 64.0, 1.5], [0.0, 0.0, 1.0, 8.0, 0.5]])
    found = cloning_loss(output, actions, CLONING_WEIGHTS | {"scope": 3.0})
    logs = torch.log(torch.tensor([3.0, 2.0, 4.0, 4.0]))
    assert found["bias_loss"].item() == pytest.approx(0.25)
    assert found["loss"].item() == pytest.approx((2 * logs[0] + 3 * logs[1] + logs[2] + logs[3] + 0.25).item())


def test_advantages_by_hand() -> None:
    rewards, values = torch.tensor([[1.0], [0.0], [2.0]]), torch.tensor([[0.5], [1.0], [-1.0]])
    # Surprises: 1 + 0.5 * 1 - 0.5 = 1, 0 + 0.5 * -1 - 1 = -1.5, 2 + 0 + 1 = 3; each carries 0.25 of the next.
    assert advantages(rewards, values, 0.5, 0.5).flatten().tolist() == [0.8125, -0.75, 3.0]


@given(st.integers(0, 1000))
def test_advantages_without_decay_are_returns_less_values(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rewards, values = (torch.randn(4, 3, generator=generator) for _ in range(2))
    returns = rewards.flip(0).cumsum(0).flip(0)
    assert torch.allclose(advantages(rewards, values, 1.0, 1.0), returns - values, atol=1e-5)
    flat = normalized(rewards)
    assert flat.mean().item() == pytest.approx(0, abs=1e-6)
    assert flat.std().item() == pytest.approx(1, abs=1e-4)


def ppo_batch(output: PolicyOutput, ratio: float, advantage: float) -> dict[str, Any]:
    actions = output.best()
    old = output.log_prob(actions).detach() - torch.log(torch.tensor(ratio))
    size = len(actions)
    return {"actions": actions, "log_probs": old, "advantages": torch.full((size,), advantage)} | {
        "targets": torch.full((size,), 2.0)
    }


@pytest.mark.parametrize(
    ("ratio", "advantage", "objective"),
    [(1.0, 3.0, 3.0), (1.1, 3.0, 3.3), (1.5, 3.0, 3.6), (0.5, 3.0, 1.5), (1.5, -3.0, -4.5), (0.5, -3.0, -2.4)],
)
def test_the_ratio_is_clipped_where_that_is_worse(ratio: float, advantage: float, objective: float) -> None:
    output = output_of()
    found = ppo_loss(output, ppo_batch(output, ratio, advantage), PPOConfig(entropy_coeff=0.5))
    assert found["policy_loss"].item() == pytest.approx(-objective, rel=1e-5)
    assert found["kl"].item() == pytest.approx(-torch.log(torch.tensor(ratio)).item(), abs=1e-5)
    expected = -objective + 0.5 * 4.0 - 0.5 * output.entropy().mean().item()
    assert found["loss"].item() == pytest.approx(expected, rel=1e-5)


def test_without_a_coefficient_there_is_no_entropy() -> None:
    output = output_of()
    assert "entropy" not in ppo_loss(output, ppo_batch(output, 1.0, 1.0), PPOConfig(entropy_coeff=0.0))
