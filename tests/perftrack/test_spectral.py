"""Power iteration finds what an SVD finds, draws from no global generator, and changes nothing within a bound."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from bem2.perftrack.adapter import Site
from bem2.perftrack.spectral import Map, SpectralNorm, SpectralPenalty, limit
from tests.perftrack.modules import adapter_of


def separated(rows: int, columns: int, top: float, seed: int = 0) -> Tensor:
    """A matrix whose largest singular value is ``top`` and whose second one is four fifths of it."""
    generator = torch.Generator().manual_seed(seed)
    u, _, vh = torch.linalg.svd(torch.randn(rows, columns, generator=generator), full_matrices=False)
    values = torch.linspace(0.8, 0.1, len(vh)) * top
    values[0] = top
    return (u * values) @ vh


def maps(matrix: Tensor) -> tuple[Map, Map]:
    """A matrix and its transpose as functions of rows."""
    return lambda x: x @ matrix.t(), lambda y: y @ matrix


@settings(max_examples=20)
@given(st.integers(2, 12), st.integers(2, 12), st.floats(0.01, 100))
def test_the_largest_singular_value(rows: int, columns: int, top: float) -> None:
    matrix = separated(rows, columns, top)
    norm = SpectralNorm(1, columns)
    norm.begin(*maps(matrix))
    found = norm.eval()(*maps(matrix)).item()
    assert found == pytest.approx(top, rel=1e-3)
    assert found <= top * (1 + 1e-5)


def test_one_iteration_a_step_follows_weights_that_move() -> None:
    norm, drift = SpectralNorm(1, 16), 0.01 * separated(24, 16, 1.0, seed=1)
    matrix = separated(24, 16, 2.0)
    for _ in range(100):
        matrix += drift
        sigma = norm(*maps(matrix))
    assert sigma.item() == pytest.approx(torch.linalg.matrix_norm(matrix, 2).item(), rel=1e-3)


def test_evaluation_leaves_the_vectors() -> None:
    norm = SpectralNorm(1, 4).eval()
    before, matrix = norm.vectors.clone(), torch.randn(3, 4)
    norm(*maps(matrix))
    assert torch.equal(norm.vectors, before)


def test_the_gradient_is_that_of_the_svd() -> None:
    matrix = separated(6, 5, 3.0).requires_grad_()
    norm = SpectralNorm(1, 5, iterations=200)
    norm(*maps(matrix)).sum().backward()
    (wanted,) = torch.autograd.grad(torch.linalg.matrix_norm(matrix, 2), matrix)
    assert matrix.grad is not None
    torch.testing.assert_close(matrix.grad, wanted, rtol=1e-3, atol=1e-4)


def test_nothing_is_drawn_from_global_generators() -> None:
    before = torch.get_rng_state()
    SpectralPenalty([nn.Parameter(torch.ones(20, 20))])()
    SpectralNorm(3, 7)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("sigma", "factor"), [(0.0, 1.0), (0.5, 1.0), (2.0, 1.0), (2.5, 0.8), (4.0, 0.5)])
def test_a_limit_is_exactly_one_within_the_bound(sigma: float, factor: float) -> None:
    value = torch.tensor(sigma, requires_grad=True)
    found = limit(value, 2.0)
    assert found.item() == pytest.approx(factor)
    assert (found.item() == 1.0) == (sigma <= 2.0)
    found.backward()
    assert value.grad is not None
    assert value.grad.isfinite()


def test_a_penalty_is_the_sum_over_the_matrices_above_the_bound() -> None:
    matrices = [nn.Parameter(separated(12, 10, top, seed=int(top))) for top in (3.0, 0.5, 2.0)]
    small, vector = nn.Parameter(torch.full((3, 3), 9.0)), nn.Parameter(torch.full((500,), 9.0))
    tall = nn.Parameter(separated(40, 5, 1.5))
    penalty = SpectralPenalty([*matrices, small, vector, tall], iterations=20)
    assert penalty().item() == pytest.approx(2.0**2 + 1.0**2 + 0.5**2, rel=1e-3)
    assert SpectralPenalty([matrices[1]])().item() == 0.0
    assert SpectralPenalty([])().item() == 0.0
    penalty().backward()
    assert matrices[1].grad is not None
    assert not matrices[1].grad.any()
    assert matrices[0].grad is not None
    assert matrices[0].grad.any()


SITE = Site("w_down", in_features=64, out_features=32)


def effect(variant: str, factor: float, bound: float) -> Tensor:
    """What an adapter with large factors adds to each unit vector, one sentence for each."""
    torch.manual_seed(0)
    name = "clamp_range" if variant == "PT4" else "max_singular_value"
    adapter = adapter_of(variant, SITE, **{name: bound})
    for parameter in adapter.parameters():
        parameter.data.mul_(factor) if parameter.dim() == 2 else None
    for _ in range(60):
        adapter.train()(torch.zeros(2, 3, 32), torch.zeros(2, 3, 64))
    hidden, given_ = torch.eye(32).unsqueeze(1), torch.eye(64).unsqueeze(1)
    if variant == "PT3":
        return adapter.eval().delta(torch.zeros(64, 1, 32), given_).squeeze(1)
    return adapter.eval().delta(hidden, hidden).squeeze(1)


@pytest.mark.parametrize("variant", ["PT1", "PT2", "PT3"])
def test_governance_bounds_the_spectral_norm(variant: str) -> None:
    assert torch.linalg.matrix_norm(effect(variant, 10.0, 1e6), 2) > 2.0
    assert torch.linalg.matrix_norm(effect(variant, 10.0, 1.0), 2) <= 1.0 + 1e-3
    assert torch.equal(effect(variant, 0.1, 1.0), effect(variant, 0.1, 1e6))


def test_governance_bounds_the_scales_of_film() -> None:
    adapter = adapter_of("PT4", SITE, residual_scale=1.0, clamp_range=0.05)
    hidden = torch.randn(4, 5, 32)
    adapter.modulation.gamma_proj.weight.data.fill_(1e6)  # type: ignore[union-attr, operator]
    adapter.modulation.beta_proj.weight.data.zero_()  # type: ignore[union-attr, operator]
    ratio = (adapter.eval().delta(hidden, hidden) / hidden).abs().amax()
    assert ratio.item() == pytest.approx(0.05, rel=1e-4)


def test_the_clamp_is_near_that_of_the_old_governance_where_both_bite() -> None:
    """On unit vectors the activations are the map itself; with one rank there is one value to clamp or scale."""
    path = Path(__file__).parents[1] / "legacy_repo/src/bem_legacy/modules/governance.py"
    spec = importlib.util.spec_from_file_location("old_governance", path)
    assert spec is not None
    assert spec.loader is not None
    old = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(old)

    def added(bound: float) -> Tensor:
        torch.manual_seed(0)
        adapter = adapter_of("PT1", SITE, num_groups=1, rank_per_group=1, max_singular_value=bound)
        for name, parameter in adapter.named_parameters():
            parameter.data.mul_(30.0) if "group_projections" in name else None
        for _ in range(5):
            adapter(torch.zeros(2, 3, 32), torch.zeros(2, 3, 64))
        hidden = torch.eye(32).unsqueeze(1)
        return adapter.eval().delta(hidden, hidden).squeeze(1)

    free = added(1e6)
    assert torch.linalg.matrix_norm(free, 2) > 5.0
    wanted, told = old.SpectralGovernance(0.7).apply_spectral_clamp(free)
    assert told["was_clamped"]
    assert (added(0.7) - wanted).norm() / wanted.norm() < 1e-3
