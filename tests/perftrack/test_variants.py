"""The maths of the adapters: worked out by hand, near the identity, without a look into the future, merged exactly."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bem2.perftrack.adapter import MergeError, Site, pool
from bem2.perftrack.pt1_head_gating import GateController, HeadGroupGatingConfig
from bem2.perftrack.pt2_dynamic_mask import DynamicRankMaskConfig, FastHadamardTransform, MaskController
from bem2.perftrack.pt3_kronecker import KroneckerConfig, KroneckerFactorization
from bem2.perftrack.variants import VARIANTS
from bem2.perftrack.wrapping import adapters, find_targets, merge
from tests.perftrack.modules import SMALL, adapted_model, adapter_of, decoder, strengthen

SITE = Site("w_down", in_features=64, out_features=32)


@pytest.mark.parametrize("size", [1, 2, 4, 8, 16, 32])
def test_the_hadamard_matrix_is_orthonormal(size: int) -> None:
    matrix = FastHadamardTransform(size).hadamard_matrix
    torch.testing.assert_close(matrix @ matrix.t(), torch.eye(size))
    assert matrix.abs().unique().tolist() == [pytest.approx(1 / math.sqrt(size))]


def test_short_vectors_are_padded() -> None:
    transform = FastHadamardTransform(4)
    x = torch.tensor([1.0, 2.0, 3.0])
    torch.testing.assert_close(transform(x), torch.tensor([6.0, 2.0, 0.0]) / 2)


@pytest.mark.parametrize("method", ["svd", "orthogonal", "random"])
def test_the_kronecker_path_is_that_of_the_product(method: Any) -> None:
    config = KroneckerConfig(u_rank=3, v_rank=2, u_dim=4, v_dim=5, init_method=method)
    factors = KroneckerFactorization(config)
    x, y = torch.randn(2, 6, 20), torch.randn(2, 6, 6)
    product = torch.kron(factors.U, factors.V)
    torch.testing.assert_close(factors(x), x @ product.t())
    torch.testing.assert_close(factors.adjoint(y), y @ product)
    rows = torch.cat([factors.U.norm(dim=1), factors.V.norm(dim=1)])
    torch.testing.assert_close(rows, torch.full((5,), 0.1))
    if method != "random":
        torch.testing.assert_close(factors.U @ factors.U.t(), 0.01 * torch.eye(3))


def test_the_terms_of_the_factors() -> None:
    factors = KroneckerFactorization(KroneckerConfig(u_rank=1, v_rank=1, u_dim=2, v_dim=2))
    factors.U.data, factors.V.data = torch.tensor([[1.0, 1.0]]), torch.tensor([[3.0, 0.0]])
    found = {name: value.item() for name, value in factors.terms().items()}
    # (2 - 1)^2 + (9 - 1)^2, and the variances 0 and 4.5.
    assert found["kronecker_orthogonality"] == pytest.approx(0.01 * 65)
    assert found["kronecker_diversity"] == pytest.approx(-0.001 * 4.5)


def test_the_mask_is_hard_forwards_and_soft_backwards() -> None:
    torch.manual_seed(0)
    controller = MaskController(DynamicRankMaskConfig(total_rank=8, active_rank=3), 16)
    mask, soft = controller(torch.randn(5, 1, 16))
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    assert mask.sum(dim=-1).unique().tolist() == [3.0]
    weights = torch.randn(8)
    (found,) = torch.autograd.grad((mask * weights).sum(), controller.mask_logits, retain_graph=True)
    (wanted,) = torch.autograd.grad((soft * weights).sum(), controller.mask_logits)
    assert found.any()
    assert torch.equal(found, wanted)
    assert controller.mask_ema.sum().item() == pytest.approx(0.9 + 0.1 * 3)


def test_the_mask_has_noise_in_training_only() -> None:
    controller, x = MaskController(DynamicRankMaskConfig(), 16), torch.zeros(64, 1, 16)
    assert len(controller(x)[0].unique(dim=0)) > 10
    assert len(controller.eval()(x)[0].unique(dim=0)) == 1


def test_gates_sum_to_one_and_are_decorrelated() -> None:
    torch.manual_seed(0)
    controller = GateController(HeadGroupGatingConfig(gate_dropout=0.0), 16)
    gates = controller(torch.randn(7, 1, 16))
    torch.testing.assert_close(gates.sum(dim=-1), torch.ones(7, 1))
    same = torch.rand(6, 1, 1).expand(6, 1, 4)
    # All gates are the same, so all correlations are 1: an average with the unit matrix has 0.01 beside the diagonal.
    assert controller.decorrelation(same).item() == pytest.approx(12 * 0.01, rel=1e-3)
    assert controller.eval().decorrelation(same).item() == 0.0


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_adapter_starts_near_the_identity(variant: str) -> None:
    torch.manual_seed(0)
    hidden, given = torch.randn(4, 6, 32), torch.randn(4, 6, 64)
    changed = adapter_of(variant, SITE).eval()(hidden, given)
    assert 0 < (changed - hidden).norm() / hidden.norm() < 0.1


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_position_sees_the_next_ones(variant: str) -> None:
    torch.manual_seed(0)
    model = adapted_model(variant, decoder(), ["mlp.w_down"]).eval()
    strengthen(model, 20.0)
    ids = torch.randint(20, (1, 10))
    other = ids.clone()
    other[0, 6:] = torch.randint(20, (4,))
    torch.testing.assert_close(model(ids).logits[0, :6], model(other).logits[0, :6])


def test_pooling() -> None:
    hidden = torch.tensor([[[1.0], [3.0], [8.0]]])
    assert pool(hidden, "sequence").tolist() == [[[4.0]]]
    assert pool(hidden, "prefix").tolist() == [[[1.0], [2.0], [4.0]]]


def bias_after(model: nn.Module) -> nn.Module:
    """Give the adapted layers a bias, which has to be merged too."""
    for layer in model.layers:  # type: ignore[union-attr]
        layer.mlp.w_down = nn.Linear(64, 32)  # type: ignore[union-attr]
    return model


MERGEABLE: dict[str, tuple[str, dict[str, Any]]] = {
    "kronecker": ("PT3", {}),
    "kronecker-limited": ("PT3", {"max_singular_value": 1e-3}),
    "mask": ("PT2", {"use_instance_adaptive": False}),
    "mask-limited": ("PT2", {"use_instance_adaptive": False, "max_singular_value": 1e-2}),
    "mask-plain": ("PT2", {"use_instance_adaptive": False, "use_hadamard_path": False}),
}


@pytest.mark.parametrize(("variant", "settings"), MERGEABLE.values(), ids=MERGEABLE)
def test_a_merged_model_is_the_same(variant: str, settings: dict[str, Any]) -> None:
    torch.manual_seed(0)
    plain = bias_after(decoder())
    ids = torch.randint(20, (3, 9))
    before = plain(ids).logits
    names = [name for name, _ in plain.named_parameters()]
    model = adapted_model(variant, plain, **settings)
    strengthen(model)
    for adapter in adapters(model):
        for name, parameter in adapter.named_parameters():
            nn.init.normal_(parameter) if name.endswith("mask_logits") else None
    wanted: Tensor = model.eval()(ids).logits
    assert (wanted - before).abs().max() > 1e-3
    merge(model)
    assert [name for name, _ in model.named_parameters()] == names
    torch.testing.assert_close(model(ids).logits, wanted)


@pytest.mark.parametrize("variant", ["PT1", "PT2", "PT4"])
def test_what_depends_on_the_input_cannot_be_merged(variant: str) -> None:
    model = adapted_model(variant, decoder())
    with pytest.raises(MergeError, match="cannot be merged"):
        merge(model)
    assert len(adapters(model)) == 2


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("variant", ["PT2", "PT3"])
def test_models_of_transformers(kind: str, variant: str) -> None:
    transformers = pytest.importorskip("transformers")
    small: dict[str, Any] = {"vocab_size": 20, "bos_token_id": 1, "eos_token_id": 2}
    if kind == "llama":
        sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
        base = transformers.LlamaForCausalLM(transformers.LlamaConfig(**small, **sizes))
        target = "mlp.down_proj"
    else:
        base = transformers.GPT2LMHeadModel(
            transformers.GPT2Config(**small, n_embd=32, n_inner=64, n_layer=2, n_head=4)
        )
        target = "mlp.c_proj"
    model = adapted_model(variant, base, [target], **({"use_instance_adaptive": False} if variant == "PT2" else {}))
    strengthen(model)
    assert len(adapters(model)) == 2
    ids = torch.randint(20, (2, 7))
    wanted = model.eval()(ids).logits
    merge(model)
    torch.testing.assert_close(model(ids).logits, wanted, rtol=1e-4, atol=1e-5)


def test_patterns_name_modules_in_the_order_of_the_model() -> None:
    model = decoder()
    assert find_targets(model, ["mlp.w_down", "layers.1.attention.w_[qo]"]) == [
        "layers.0.mlp.w_down",
        "layers.1.attention.w_q",
        "layers.1.attention.w_o",
        "layers.1.mlp.w_down",
    ]
    assert find_targets(model, ["head"]) == ["head"]
    assert set(SMALL) == set(VARIANTS)
