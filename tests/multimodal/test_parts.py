"""The parts of the multimodal component: values worked out by hand, and laws."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bem2.multimodal.answers import Answers
from bem2.multimodal.controller import ChunkAligner, ConflictGate, View
from bem2.multimodal.data import touched_patches
from bem2.multimodal.images import normalise, read_image
from bem2.multimodal.losses import answer_loss, consistency_loss, coverage_loss, hallucination_loss
from bem2.multimodal.routing import bounded, masked_mean, move_mean
from bem2.multimodal.samples import read_questions
from bem2.multimodal.scores import Consistency, Coverage, consistency, coverage, reliance
from bem2.multimodal.settings import GateSettings
from bem2.multimodal.shapes import draw_questions
from bem2.multimodal.text_encoder import ByteFeatures, QuestionTokens
from bem2.multimodal.unified_trainer import MultimodalTrainer
from bem_core.config import load_experiment_config
from bem_core.config.base_config import DataConfig
from bem_core.errors import DataError
from bem_core.models import ByteTokenizer
from tests.multimodal.files import write_image, write_questions

ROOT = Path(__file__).parents[2]


def view(attention: list[float], regions: Any = None, cls: Any = None) -> View:
    regions = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]) if regions is None else regions
    cls = torch.tensor([[1.0, 0.0]]) if cls is None else cls
    return View(cls, cls, regions, torch.tensor([attention]), cls, None)


def test_coverage_by_hand() -> None:
    objects = torch.tensor([[0.0, 1.0, 1.0, 0.0]])
    found = coverage(view([0.5, 0.25, 0.25, 0.0]), objects)
    assert found.score.item() == 0.5
    # 0.5 ln 2 + 2 * 0.25 ln 4 = 1.5 ln 2, of at most ln 4 = 2 ln 2.
    assert found.entropy.item() == pytest.approx(0.75, abs=1e-6)
    assert found.diversity.item() == 1.0
    unknown = coverage(view([0.25] * 4), torch.zeros(1, 4))
    assert unknown.score.item() == pytest.approx(1.0, abs=1e-6)
    same = coverage(view([0.25] * 4, regions=torch.ones(1, 3, 2)), objects)
    assert same.diversity.item() == pytest.approx(0.0, abs=1e-6)


def test_consistency_by_hand() -> None:
    """The class token equals the first region and is orthogonal to the second; pool and text equal it."""
    found = consistency(view([1.0]))
    assert found.global_local.item() == 0.5
    assert found.alignment.item() == 1.0
    # The mean of 0.5, 1 and (1 + 0.5) / 2 is 0.75.
    assert found.score.item() == pytest.approx((1 + 0.75) / 2)


def test_losses_by_hand() -> None:
    logits = torch.tensor([[0.0, 0.0, math.log(2.0)]])
    assert answer_loss(logits, torch.tensor([[0.0, 0.0, 1.0]])).item() == pytest.approx(math.log(2.0))
    assert answer_loss(logits, torch.tensor([[0.5, 0.5, 0.0]])).item() == pytest.approx(math.log(4.0))
    assert answer_loss(logits, torch.zeros(1, 3)).item() == 0.0
    wrong = torch.tensor([[1.0, 0.0, 0.5]])
    assert hallucination_loss(logits.softmax(-1), wrong).item() == pytest.approx(0.5)
    off = torch.tensor([0.6])
    # (0.04 + 2 * 0.01 + 0.09) / 3
    agreed = Consistency(off, torch.tensor([0.7]), torch.tensor([0.5]))
    assert consistency_loss(agreed).item() == pytest.approx(0.05)
    at_target = [-(p * math.log(p) + (1 - p) * math.log(1 - p)) for p in (0.7, 0.8, 0.6)]
    covered = Coverage(torch.tensor([0.7]), torch.tensor([0.8]), torch.tensor([0.6]))
    assert coverage_loss(covered).item() == pytest.approx(sum(at_target) / 3)


def test_coverage_loss_is_finite_outside_of_its_domain() -> None:
    values = torch.tensor([1.5, -0.1], requires_grad=True)
    loss = coverage_loss(Coverage(values, values, values))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(values.grad).all()


@pytest.mark.parametrize(
    ("agreed", "covered", "weight"),
    [(0.9, 0.5, 1.0), (0.8, 0.5, 0.7), (0.6, 0.5, 0.7), (0.4, 0.5, 0.3), (0.2, 0.5, 0.0), (0.9, 0.4, 0.0)],
)
def test_reliance(agreed: float, covered: float, weight: float) -> None:
    found = reliance(torch.tensor([agreed]), torch.tensor([covered]), GateSettings())
    assert found.item() == pytest.approx(weight)


@pytest.mark.parametrize(
    ("boxes", "touched"),
    [
        ([], []),
        ([(0.0, 0.0, 1.0, 1.0)], list(range(16))),
        ([(0.0, 0.0, 0.25, 0.25)], [0]),
        ([(0.2, 0.2, 0.3, 0.3)], [0, 1, 4, 5]),
        ([(0.5, 0.0, 0.75, 0.1), (0.8, 0.9, 1.0, 1.0)], [2, 15]),
    ],
)
def test_touched_patches(boxes: Any, touched: list[int]) -> None:
    assert touched_patches(boxes, 4).nonzero().flatten().tolist() == touched


def test_answers() -> None:
    answers = Answers(["red", "The Red.", "circle", "a square", "two circles"], ["Circle", "square"])
    assert answers.texts == ["circle", "red", "square", "two circles"]
    assert answers.targets(("Red!", "circle", "unheard")).tolist() == [0.5, 0.5, 0.0, 0.0]
    assert answers.targets(("unheard",)).tolist() == [0.0] * 4
    assert answers.wrong(("circle",)).tolist() == [0.0, 0.0, 1.0, 0.0]
    assert answers.wrong(("square",)).tolist() == [1.0, 0.0, 0.0, 0.0]
    # Nothing is known of the image, so nothing is wrong.
    assert answers.wrong(()).tolist() == [0.0] * 4


@given(st.lists(st.floats(-5, 5), min_size=4, max_size=4), st.floats(0.1, 10))
def test_bounded_codes(values: list[float], bound: float) -> None:
    code = torch.tensor([values])
    found = bounded(code, bound)
    assert found.norm() <= bound * (1 + 1e-5)
    if code.norm() <= bound:
        assert torch.allclose(found, code)
    assert torch.allclose(found * code.norm(), code * found.norm(), atol=1e-4)


def test_masked_mean_looks_at_the_mask_only() -> None:
    x = torch.tensor([[[1.0], [3.0], [100.0]], [[1.0], [1.0], [1.0]]])
    mask = torch.tensor([[1, 1, 0], [0, 0, 0]])
    assert masked_mean(x, mask).flatten().tolist() == [2.0, 0.0]


def test_running_mean_begins_with_the_first_value() -> None:
    mean, started = torch.zeros(1, 2), torch.tensor(False)
    for value in (4.0, 0.0):
        move_mean(mean, started, torch.full((1, 2), value, requires_grad=True), 0.75)
    assert mean.tolist() == [[3.0, 3.0]]
    assert not mean.requires_grad


def test_patches_are_weighed_by_place_and_content() -> None:
    torch.manual_seed(0)
    aligner = ChunkAligner(4, 8)
    patches = torch.zeros(1, 16, 8)
    early, late = aligner(patches, 0.0), aligner(patches, 1.0)
    assert early.sum().item() == pytest.approx(1.0)
    assert (early.argmax().item(), late.argmax().item()) == (0, 15)
    patches[0, 5] = 200.0 * aligner.alignment_net(torch.eye(8)).mean().sign()
    assert aligner(patches, 0.0).max().item() > 0.9


def test_gate_closes_where_the_encoder_did_not_understand() -> None:
    gate = ConflictGate(4, consistency_threshold=0.5, coverage_threshold=0.3).eval()
    cls, text = torch.zeros(3, 4), torch.zeros(3, 4)
    found = gate(cls, text, torch.tensor([0.9, 0.4, 0.9]), torch.tensor([0.9, 0.9, 0.2]))
    assert found[0] > 0.8
    assert found[1:].tolist() == [0.0, 0.0]
    assert gate.gate_ema.item() == 1.0


def test_bytes_have_the_same_features_in_each_run() -> None:
    torch.manual_seed(1)
    first = ByteFeatures(6, 20)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    second = ByteFeatures(6, 20)
    assert torch.equal(torch.get_rng_state(), state)
    ids, mask = QuestionTokens(ByteTokenizer(), DataConfig(padding="longest"))("red?")
    assert torch.equal(first(ids[None], mask[None]), second(ids[None], mask[None]))
    assert not list(first.parameters())


def test_tokens_of_questions() -> None:
    def tokens(text: str, **options: Any) -> list[list[int]]:
        ids, mask = QuestionTokens(ByteTokenizer(), DataConfig(max_seq_length=5, **options))(text)
        return [ids.tolist(), mask.tolist()]

    assert tokens("a") == [[256, 97, 257, 258, 258], [1, 1, 1, 0, 0]]
    assert tokens("a", padding="longest") == [[256, 97, 257], [1, 1, 1]]
    assert tokens("ab", padding="longest", add_special_tokens=False) == [[97, 98], [1, 1]]
    assert tokens("abcdefg")[0] == [256, 97, 98, 99, 100]
    with pytest.raises(DataError, match="the question 'abcdefg' has 9 tokens: expected at most 5"):
        tokens("abcdefg", truncation=False)


def small(**sections: Any) -> dict[str, Any]:
    return {
        "name": "small",
        "text": {"encoder": "bytes"},
        "vision": {"dim": 16, "num_layers": 1},
        "controller": {"dim": 16, "dropout": 0.0},
        "data": {"max_seq_length": 32, "padding": "longest", "train": {"num_samples": 40}, "eval": {"num_samples": 8}},
        "training": {"max_steps": 2, "batch_size": 8, "save_strategy": "no"},
        "hardware": {"device": "cpu"},
    } | sections


def logits_of(trainer: MultimodalTrainer) -> Tensor:
    trainer.model.eval()
    with torch.no_grad():
        found: Tensor = trainer.model(next(iter(trainer.eval_dataloader))).logits
    return found


def test_padding_changes_nothing(tmp_path: Path) -> None:
    found = []
    for padding in ("longest", "max_length"):
        config = small()
        config["data"]["padding"] = padding
        trainer = MultimodalTrainer(config, tmp_path / padding)
        trainer.setup_training()
        found.append(logits_of(trainer))
    assert torch.allclose(*found, atol=1e-6)


def test_an_image_file_is_what_was_drawn(tmp_path: Path) -> None:
    image = draw_questions(1, 0).images[0]
    assert isinstance(image, Tensor)
    write_image(tmp_path / "x.png", image)
    assert torch.allclose(read_image(tmp_path / "x.png"), image, atol=0.51 / 255)


def test_images_of_any_shape_are_kept_as_a_whole() -> None:
    left, right = torch.zeros(3, 40, 50), torch.ones(3, 40, 50)
    found = normalise(torch.cat([left, right], dim=2), 16)
    plain = [normalise(torch.full((3, 16, 16), value), 16) for value in (0.0, 1.0)]
    assert torch.allclose(found[:, :, :6], plain[0][:, :, :6], atol=1e-5)
    assert torch.allclose(found[:, :, 10:], plain[1][:, :, 10:], atol=1e-5)


def test_grey_and_transparent_images_have_three_channels(tmp_path: Path) -> None:
    from PIL import Image

    for mode in ("L", "RGBA", "P", "1"):
        Image.new(mode, (5, 3)).save(tmp_path / f"{mode}.png")
        assert read_image(tmp_path / f"{mode}.png").shape == (3, 3, 5)


def test_questions_are_read_as_written(tmp_path: Path) -> None:
    data = draw_questions(5, 3)
    rows = write_questions(tmp_path / "q.jsonl", data)
    found = read_questions(tmp_path / "q.jsonl")
    assert found.questions == data.questions
    assert found.images == [tmp_path / str(row["image"]) for row in rows]
    short = {"image": rows[0]["image"], "question": "x", "answer": "y", "objects": ["circle", {"name": "box"}]}
    (tmp_path / "s.jsonl").write_text(f"{json.dumps(short)}\n{json.dumps(short)}\n")
    found = read_questions(tmp_path / "s.jsonl")
    assert len(found.images) == 1
    assert (found.questions[1].answers, found.questions[1].objects) == (("y",), ("circle", "box"))
    assert len(read_questions(tmp_path / "q.jsonl", limit=2).questions) == 2


def test_trains_from_files_with_a_clip_model(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = transformers.CLIPVisionConfig(**sizes, image_size=48, patch_size=12)
    transformers.CLIPVisionModel(vision).save_pretrained(tmp_path / "clip")
    write_questions(tmp_path / "train.jsonl", draw_questions(16, 0))
    write_questions(tmp_path / "eval.jsonl", draw_questions(6, 1))
    files = {"train_file": str(tmp_path / "train.jsonl"), "validation_file": str(tmp_path / "eval.jsonl")}
    for freeze in (True, False):
        config = small(vision={"encoder": str(tmp_path / "clip"), "freeze": freeze}, data=files)
        trainer = MultimodalTrainer(config, tmp_path / f"run-{freeze}")
        done = trainer.train()
        assert done["total_steps"] == 2
        assert trainer.model.vision.dim == 16
        assert trainer.model.vision.grid == 4
        trained = [name for name, one in trainer.model.vision.named_parameters() if one.requires_grad]
        assert bool(trained) is not freeze
        assert all(one.grad is not None for one in trainer.model.parameters() if one.requires_grad)


@pytest.mark.parametrize("name", ["MM0", "MM1_trained_vision"])
def test_experiments_run(name: str, tmp_path: Path) -> None:
    steps = ["training.max_steps=4", "training.warmup_steps=2", "data.train={num_samples: 40}"]
    config = load_experiment_config(ROOT / "experiments" / f"{name}.yml", [*steps, "hardware.device=cpu"])
    done = MultimodalTrainer(config, tmp_path / "run").train()
    assert done["total_steps"] == 4
    assert {"eval_exact_match", "eval_coverage", "eval_num_samples"} <= done["final_metrics"].keys()


def test_a_resumed_run_ends_as_one_that_was_not_stopped(tmp_path: Path) -> None:
    def trainer_of(folder: str, steps: int) -> MultimodalTrainer:
        training = {"max_steps": 8, "batch_size": 8, "eval_steps": 4, "save_steps": 4, "scheduler_type": "constant"}
        config = small(training=training | {"max_steps": steps}, compat="none")
        config["controller"]["dropout"] = 0.2
        return MultimodalTrainer(config, tmp_path / folder)

    whole = trainer_of("whole", 8)
    whole.train()
    trainer_of("half", 4).train()
    parts = trainer_of("parts", 8)
    parts.resume_from(tmp_path / "half" / "checkpoints" / "step-00000004")
    parts.train()
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, parts.model.state_dict()[name]), name


def test_parts_of_the_questions_are_measured_on_their_own(tmp_path: Path) -> None:
    slices = {"colors": {"question": "What color is it?"}, "shapes": {"question": "Which shape is it?"}}
    config = small(evaluation={"slices": slices, "eval_batch_size": 3}, hardware={"device": "cpu"})
    trainer = MultimodalTrainer(config, tmp_path / "run")
    found = trainer.evaluate()
    parts = [found[f"eval_{name}/num_samples"] for name in slices]
    assert sum(parts) == found["eval_num_samples"] == 8
    whole = sum(found[f"eval_{name}/coverage"] * count for name, count in zip(slices, parts, strict=True)) / 8
    assert whole == pytest.approx(found["eval_coverage"])


def test_trains_in_lower_precision(tmp_path: Path) -> None:
    config = small(hardware={"device": "cpu", "mixed_precision": "bf16"})
    assert MultimodalTrainer(config, tmp_path / "run").train()["total_steps"] == 2
