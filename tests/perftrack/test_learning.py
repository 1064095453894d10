"""Each variant learns what the frozen base cannot do, at the same number of parameters, and only from its input.

The base knows two languages and goes on in the one that the first token names. The adapters are to make it speak the
second one although the first is named.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from bem2.perftrack.data import TokenSequences, markov_chain
from bem2.perftrack.losses import next_token_loss
from bem2.perftrack.unified_trainer import PerformanceTrainer
from bem_core.evaluation.costs import count_parameters
from bem_core.models.tiny import TinyConfig, TinyDecoder
from bem_core.utils.batching import collate

SIZES: dict[str, Any] = {
    "vocab_size": 16,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_layers": 2,
    "num_attention_heads": 4,
    "context_length": 16,
}
WORDS = SIZES["vocab_size"] - 2
FIRST, SECOND = WORDS, WORDS + 1
STEPS, BUDGET, TOLERANCE = 220, 2240, 0.05
# To know nothing of the words costs log(14) = 2.64; nothing better can be had from words in random order.
REACHED, NOTHING = 2.35, 2.6


def sentences(count: int, seed: int, language: int, told: int) -> Tensor:
    """Sentences of a language after the token of the one that is told."""
    words = markov_chain(count, SIZES["context_length"] - 1, WORDS, seed, language)
    return torch.cat([torch.full((count, 1), told), words], dim=1)


def in_random_order(data: Tensor) -> Tensor:
    """Let the words of all sentences change places, so that one says nothing about the next."""
    words = data[:, 1:].flatten()
    order = torch.randperm(len(words), generator=torch.Generator().manual_seed(0))
    return torch.cat([data[:, :1], words[order].view(len(data), -1)], dim=1)


@pytest.fixture(scope="module")
def base() -> dict[str, Tensor]:
    """Weights of a model that speaks both languages."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = TinyDecoder(TinyConfig(**SIZES))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    both = torch.cat([sentences(256, 1, language=1, told=FIRST), sentences(256, 2, language=2, told=SECOND)])
    for step in range(200):
        batch = both[torch.randperm(len(both), generator=torch.Generator().manual_seed(step))[:32]]
        optimizer.zero_grad()
        next_token_loss(model(batch).logits, batch).backward()
        optimizer.step()
    return model.state_dict()


class Trainer(PerformanceTrainer):
    """Trains on a base that is given."""

    weights: dict[str, Tensor]

    def _base_model(self) -> nn.Module:
        model = TinyDecoder(TinyConfig(**SIZES))
        model.load_state_dict(self.weights)
        return model


#: Settings with about the same number of parameters, and a learning rate.
VARIANTS: dict[str, tuple[dict[str, Any], float]] = {
    "PT1": ({"head_gating": {"attention_stat_dim": 8, "retrieval_quality_dim": 4}}, 0.02),
    "PT2": ({"dynamic_rank_mask": {"total_rank": 12, "active_rank": 6, "adaptation_dim": 7}}, 0.03),
    "PT3": ({"kronecker": {"u_rank": 4, "v_rank": 8, "u_dim": 8, "v_dim": 8}}, 0.02),
    "PT4": ({"residual_film": {"gamma_dim": 8, "beta_dim": 16, "controller_dim": 4}}, 0.2),
}


def trainer_of(folder: Path, base: dict[str, Tensor], variant: str, shuffled: bool = False, **training: Any) -> Trainer:
    sections, rate = VARIANTS[variant]
    config = {
        "name": variant,
        "experiment_type": "performance",
        "variant_id": variant,
        "model": {"base_model": "tiny", **SIZES},
        "training": {
            "max_steps": STEPS,
            "learning_rate": rate,
            "param_groups": [],  # One rate for all, so that it can be compared.
            "eval_strategy": "no",
            "save_strategy": "no",
            "loss_weights": {"film_gamma_shift": 1e-3, "film_beta": 1e-3} if variant == "PT4" else {},
            **training,
        },
        "perftrack": {"targets": ["mlp.w_down"]},
        "hardware": {"device": "cpu"},
        **sections,
    }
    trainer = Trainer(config, folder)
    trainer.weights = base
    data, held_out = (sentences(count, count, language=2, told=FIRST) for count in (256, 64))
    if shuffled:
        data, held_out = in_random_order(data), in_random_order(held_out)
    trainer.setup_training(
        DataLoader(TokenSequences(data), 16, shuffle=True, collate_fn=collate),
        DataLoader(TokenSequences(held_out), 64, collate_fn=collate),
    )
    return trainer


def cross_entropy(trainer: PerformanceTrainer) -> float:
    return trainer.evaluate()["eval_cross_entropy"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_adapters_of_one_size_learn(base: dict[str, Tensor], tmp_path: Path, variant: str) -> None:
    trainer = trainer_of(tmp_path, base, variant)
    assert count_parameters(trainer.model, trainable_only=True) == pytest.approx(BUDGET, rel=TOLERANCE)
    assert cross_entropy(trainer) > 4.0
    trainer.train()
    assert cross_entropy(trainer) < REACHED
    trained = trainer.model.state_dict()
    for name, value in base.items():
        kept = [one for one in (name, name.replace("w_down.", "w_down.base.")) if one in trained]
        assert torch.equal(trained[kept[0]], value), name


@pytest.mark.parametrize("variant", VARIANTS)
def test_nothing_is_learnt_from_words_in_random_order(base: dict[str, Tensor], tmp_path: Path, variant: str) -> None:
    trainer = trainer_of(tmp_path, base, variant, shuffled=True)
    trainer.train()
    assert cross_entropy(trainer) > NOTHING


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_reach_every_trained_tensor(base: dict[str, Tensor], tmp_path: Path, variant: str) -> None:
    trainer = trainer_of(tmp_path, base, variant, max_steps=3)
    before = {name: value.clone() for name, value in trainer.model.named_parameters()}
    trainer.train()
    for name, parameter in trainer.model.named_parameters():
        assert parameter.requires_grad == (".adapter." in name)
        assert torch.equal(parameter, before[name]) != parameter.requires_grad, name
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.any(), name
