"""The multimodal component learns: answers need the image, attention finds the object, each tensor gets a gradient."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bem2.multimodal.shapes import COLORS, SHAPES, draw_questions
from bem2.multimodal.unified_trainer import MultimodalTrainer

CONFIG: dict[str, Any] = {
    "name": "learning",
    "text": {"encoder": "bytes"},
    "vision": {"dim": 32},
    "controller": {"dim": 32},
    "data": {"max_seq_length": 32, "padding": "longest"},
    "training": {
        "max_steps": 300,
        "learning_rate": 5e-3,
        "scheduler_type": "one_cycle",
        "warmup_steps": 30,
        "batch_size": 32,
        "eval_strategy": "no",
        "save_strategy": "no",
    },
    "hardware": {"device": "cpu"},
}
# The best that can be had from the question alone: one of four colors or one of four shapes.
BLIND = max(1 / len(COLORS), 1 / len(SHAPES))
# Share of the patches that objects touch, which is the coverage of attention that is the same everywhere.
UNIFORM = 0.39


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def trainer_in(folder: Path, **sections: Any) -> MultimodalTrainer:
    trainer = MultimodalTrainer(CONFIG | sections, folder)
    trainer.setup_training()
    return trainer


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> MultimodalTrainer:
    trainer = trainer_in(tmp_path_factory.mktemp("trained") / "run")
    trainer.train()
    return trainer


def test_answers_and_attention_are_learned(trained: MultimodalTrainer, tmp_path: Path) -> None:
    before, after = trainer_in(tmp_path / "run").evaluate(), trained.evaluate()
    assert before["eval_exact_match"] < BLIND + 0.05
    assert after["eval_exact_match"] > 0.55
    assert before["eval_coverage"] < UNIFORM + 0.05
    assert after["eval_coverage"] > 0.55
    assert after["eval_loss"] < before["eval_loss"] / 2


def test_colors_are_told_apart(trained: MultimodalTrainer) -> None:
    batch = next(iter(trained.eval_dataloader))
    about_color = torch.tensor([text == "What color is it?" for text in batch["question"]])
    trained.model.eval()
    with torch.no_grad():
        chosen = trained.model(batch).logits.argmax(dim=-1)
    right = batch["targets"].gather(1, chosen.unsqueeze(1)).squeeze(1) > 0
    assert right[about_color].float().mean() > 0.9


def test_shuffled_images_destroy_it(trained: MultimodalTrainer) -> None:
    """Each question is asked about another image: what is left is what the question alone tells."""

    class Shuffled:
        def __init__(self, loader: Any) -> None:
            self._loader = loader

        def __iter__(self) -> Iterator[dict[str, Any]]:
            order = torch.Generator().manual_seed(0)
            for batch in self._loader:
                to = torch.randperm(len(batch["cls"]), generator=order)
                names = ("cls", "pool", "patches", "regions", "coverage", "consistency")
                yield batch | {name: batch[name][to] for name in names}

    found = trained._evaluate(Shuffled(trained.eval_dataloader))
    assert found["exact_match"] < BLIND + 0.12
    assert found["coverage"] < UNIFORM + 0.1


def test_training_with_shuffled_answers_learns_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = MultimodalTrainer(CONFIG, tmp_path / "run")
    data = draw_questions(400, 42)
    order = torch.randperm(400, generator=torch.Generator().manual_seed(1)).tolist()
    images = [data.images[number] for number in order]
    shuffled = dataclasses.replace(data, images=images)
    monkeypatch.setattr("bem2.multimodal.unified_trainer.training_questions", lambda *_: shuffled)
    trainer.train()
    assert trainer.evaluate()["eval_exact_match"] < BLIND + 0.12


def gradients(trainer: MultimodalTrainer) -> dict[str, Tensor | None]:
    batch = next(trainer.begin_batches())
    trainer.model.train()
    trainer._compute_loss(batch, trainer._forward(batch))["loss"].backward()
    return {name: one.grad for name, one in trainer.model.named_parameters() if one.requires_grad}


CASES: dict[str, dict[str, Any]] = {
    "frozen encoder": {},
    "trained encoder": {"vision": {"dim": 32, "freeze": False, "num_layers": 1}},
    "token level": {"controller": {"dim": 32, "token_level": True}},
    "language model": {"text": {}, "controller": {}, "model": {"hidden_size": 32, "context_length": 32}},
}


@pytest.mark.parametrize("sections", CASES.values(), ids=CASES)
def test_each_trained_tensor_gets_a_gradient(sections: dict[str, Any], tmp_path: Path) -> None:
    found = gradients(trainer_in(tmp_path / "run", **sections))
    without = [name for name, grad in found.items() if grad is None or not grad.abs().sum() > 0]
    assert without == []
    assert any(name.startswith("vision.") for name in found) == (sections.get("vision", {}).get("freeze") is False)


def test_each_trained_tensor_moves(trained: MultimodalTrainer, tmp_path: Path) -> None:
    before = trainer_in(tmp_path / "run").model.state_dict()
    after = trained.model.state_dict()
    names = [name for name, one in trained.model.named_parameters() if one.requires_grad]
    assert [name for name in names if torch.equal(before[name], after[name])] == []
    frozen = [name for name, one in trained.model.named_parameters() if not one.requires_grad]
    assert all(torch.equal(before[name], after[name]) for name in frozen)


def test_every_image_of_a_batch_counts_for_its_own_question(trained: MultimodalTrainer) -> None:
    batch = next(iter(trained.eval_dataloader))
    trained.model.eval()
    with torch.no_grad():
        codes = trained.model(batch).codes
        patches = batch["patches"].clone()
        patches[3] = patches[4]
        changed = trained.model(batch | {"patches": patches}).codes
    differs = (codes - changed).abs().sum(dim=-1) > 1e-6
    assert differs.nonzero().flatten().tolist() == [3]
