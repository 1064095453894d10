"""Composition: the low-rank form against dense matrices, budgets, and what a model computes with it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from bem2.router.agentic_router import AgenticRouter
from bem2.router.composition_engine import CompositionEngine, ExpertBank, LowRank, find_layers, within_budgets
from bem2.router.macro_policy import MacroAction, MacroPolicy
from bem2.router.settings import CompositionConfig, PolicyConfig
from bem_core.errors import ConfigError
from bem_core.models import TinyConfig, TinyDecoder
from bem_core.utils.seeding import seed_everything
from tests.router.jobs import POLICY

SIZES = st.integers(2, 12)


def dense(change: LowRank) -> Tensor:
    return (change.left * change.values) @ change.right


@given(st.integers(0, 1000), SIZES, SIZES, st.integers(1, 4))
def test_the_decomposition_of_factors_is_that_of_their_product(seed: int, rows: int, columns: int, rank: int) -> None:
    rank, generator = min(rank, rows, columns), torch.Generator().manual_seed(seed)
    up, down = torch.randn(rows, rank, generator=generator), torch.randn(rank, columns, generator=generator)
    found = LowRank.of_factors(up, down)
    assert torch.allclose(dense(found), up @ down, atol=1e-4)
    assert torch.allclose(found.values, torch.linalg.svdvals(up @ down)[:rank], atol=1e-4)
    assert torch.allclose(found.left.T @ found.left, torch.eye(rank), atol=1e-4)
    again = LowRank.of_dense(up @ down, rank)
    assert torch.allclose(dense(again), up @ down, atol=1e-4)
    assert torch.allclose(dense(LowRank.total([found, again])), 2 * up @ down, atol=1e-3)


@given(st.lists(st.floats(0, 20, width=32), min_size=1, max_size=6), st.floats(0.1, 10), st.floats(0.1, 10))
def test_budgets_hold_and_shrink_no_more_than_they_must(values: list[float], spectral: float, frobenius: float) -> None:
    row = torch.tensor([sorted(values, reverse=True)])
    found = within_budgets(row, spectral, frobenius)
    assert found.values[0, 0] <= spectral * (1 + 1e-5)
    norm = torch.linalg.vector_norm(found.values)
    assert norm <= frobenius * (1 + 1e-5)
    if found.scale.item() < 1:
        assert found.values[0, 0].item() == pytest.approx(spectral, rel=1e-4) or norm.item() == pytest.approx(
            frobenius, rel=1e-4
        )
    else:
        # What is within its budgets is not touched at all.
        assert torch.equal(found.values, row)


@pytest.fixture(scope="module")
def model() -> TinyDecoder:
    seed_everything(0)
    return TinyDecoder(TinyConfig(hidden_size=16, num_layers=2, num_attention_heads=2)).eval()


def engine_for(model: nn.Module, **options: Any) -> CompositionEngine:
    config = CompositionConfig(**{"rank": 12, "scales": [8.0, 12.0, 6.0]} | options)
    return CompositionEngine(ExpertBank.random(find_layers(model, config.attachment_points), config, 0), config)


ACTIONS = [
    MacroAction(0, "local", 1, 8, 1.0),
    MacroAction(1, "global", 2, 16, 1.5),
    MacroAction(2, "global", 1, 8, 0.1),
]


def expected(engine: CompositionEngine, name: str, action: MacroAction) -> Tensor:
    """Do what the old engine did, with dense matrices: cut, scale, damp, clamp the norms one after the other."""
    full = dense(LowRank(*(engine.bank.part(name, field)[action.expert_id] for field in LowRank._fields)))
    u, values, v = torch.linalg.svd(full, full_matrices=False)
    rank = action.rank_budget
    delta = (u[:, :rank] * values[:rank]) @ v[:rank] * action.bias_scale * (0.8 if action.scope == "local" else 1.0)
    delta = delta * min(1.0, engine.config.spectral_budget / torch.linalg.matrix_norm(delta, 2).item())
    return delta * min(1.0, engine.config.frobenius_budget / torch.linalg.matrix_norm(delta).item())


def test_each_sample_runs_with_the_weights_of_its_action(model: TinyDecoder) -> None:
    engine = engine_for(model)
    ids = torch.randint(256, (3, 10), generator=torch.Generator().manual_seed(0))
    composed = engine.compose(torch.stack([action.to_tensor() for action in ACTIONS]))
    with torch.no_grad(), engine.applied(model, composed):
        routed = model(ids).logits
    plain = model(ids).logits
    for row, action in enumerate(ACTIONS):
        before = {name: value.clone() for name, value in model.state_dict().items()}
        with torch.no_grad():
            for name, layer in find_layers(model, engine.config.attachment_points).items():
                layer.weight += expected(engine, name, action)
            dense_logits = model(ids[row : row + 1]).logits[0]
        model.load_state_dict(before)
        assert torch.allclose(routed[row], dense_logits, atol=1e-4)
        assert not torch.allclose(routed[row], plain[row], atol=1e-3)
    assert torch.equal(model(ids).logits, plain)
    assert (composed.scale < 1).tolist() == [True, True, False]
    assert composed.violations.tolist() == [4, 4, 0]


class Largest(TorchDispatchMode):
    """Remembers the most numbers that a new tensor had; views of others are none."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        given = {one.untyped_storage().data_ptr() for one in tree_flatten(args)[0] if isinstance(one, Tensor)}
        made = [one for one in tree_flatten(found)[0] if isinstance(one, Tensor)]
        new = [one.numel() for one in made if one.untyped_storage().data_ptr() not in given]
        self.size = max([self.size, *new])
        return found


def test_no_matrix_of_the_size_of_a_layer_is_made() -> None:
    layer = nn.Sequential(nn.Linear(256, 512, bias=False))
    config = CompositionConfig(attachment_points=["*"], rank=8, scales=[1.0, 1.0, 1.0])
    with Largest() as largest:
        engine = CompositionEngine(ExpertBank.random(find_layers(layer, ["*"]), config, 0), config)
    # Three experts' factors are the largest; a full matrix has 131,072 numbers.
    assert largest.size <= 3 * 8 * 512
    composed = engine.compose(torch.stack([action.to_tensor() for action in ACTIONS]))
    layer.requires_grad_(False)
    with Largest() as largest, engine.applied(layer, composed):
        layer(torch.randn(3, 4, 256))
    assert largest.size <= 3 * 8 * 512
    with Largest() as largest:
        dense(LowRank(*(engine.bank.part("0", field)[0] for field in LowRank._fields)))
    assert largest.size == 256 * 512


def test_an_agentic_router_reads_its_tokens(model: TinyDecoder) -> None:
    policy = MacroPolicy(PolicyConfig(**POLICY, hysteresis_tau=-10.0)).eval()
    nn.init.normal_(policy.expert_head.weight)
    router = AgenticRouter(policy, engine_for(model), model, chunk_size=32)
    texts = ("def add(self, x): return x import", "theorem: proof by lemma 2, hence!")
    ids = torch.tensor([list((first + second).encode()) for first, second in (texts, texts[::-1])])[:, :64]
    with torch.no_grad():
        found = router(ids)
        again = router(ids)
        other = router(ids.flip(0))
    assert found.logits.shape == (2, 64, 259)
    assert torch.equal(found.logits, again.logits)
    assert torch.allclose(found.logits, other.logits.flip(0), atol=1e-5)
    assert found.actions.shape == (2, 2, 5)
    # What is chosen for a chunk depends on what is in it.
    assert found.actions[0, 0].tolist() != found.actions[0, 1].tolist()
    experts = found.actions[..., 0]
    assert found.flip_rate() == (experts[0] != experts[1]).float().mean()


def test_a_pattern_without_layers_is_an_error(model: TinyDecoder) -> None:
    with pytest.raises(ConfigError, match=r"composition.attachment_points: no linear layer matches '\*attention.w_x'"):
        find_layers(model, ["*attention.w_x"])
