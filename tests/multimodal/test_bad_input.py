"""Each mistake in an experiment, a file of questions or an image is one error before training, with its place."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from bem2.multimodal.samples import read_questions
from bem2.multimodal.shapes import draw_questions
from bem2.multimodal.unified_trainer import MultimodalTrainer
from bem_core.errors import BemError, CheckpointError, ConfigError, DataError
from tests.multimodal.files import write_questions

START = """\
name: wrong
experiment_type: multimodal
training: {max_steps: 1}
hardware: {device: cpu}
"""

CONFIGS = {
    "image size": (
        "vision:\n  image_size: 30\n",
        "x.yml:6:15: vision.image_size: expected a multiple of vision.patch_size, 8, found 30",
    ),
    "regions": (
        "vision: {num_regions: 9}\n",
        "x.yml:5:23: vision.num_regions: expected at most the 4 rows of patches, found 9",
    ),
    "unknown key": (
        "controller: {code_dimm: 8}\n",
        "x.yml:5:25: controller.code_dimm: unknown key; did you mean 'code_dim'?",
    ),
    "wrong values, both at once": (
        "controller: {code_dim: 1}\nvision: {dim: wide}\n",
        "x.yml:5:24: controller.code_dim: expected an integer at least 2, found 1",
        "x.yml:6:15: vision.dim: expected an integer",
    ),
    "unknown section": ("visoin: {dim: 8}\n", "x.yml:5:15: visoin: unknown section; did you mean 'vision'?"),
    "text encoder": ("text: {encoder: byte}\n", "text.encoder: expected one of 'base_model', 'bytes'"),
    "width of the base model": (
        "model: {hidden_size: 64, context_length: 512}\ncontroller: {dim: 32}\n",
        "x.yml:6:19: controller.dim: expected 64, the width of the base model, found 32",
    ),
    "context of the base model": (
        "model: {context_length: 64}\ndata: {max_seq_length: 100}\n",
        "x.yml:6:24: data.max_seq_length: expected at most 64, the context of the base model, found 100",
    ),
    "no folder": ("vision: {encoder: ./models/clip}\n", "vision.encoder: there is no folder ./models/clip"),
    "a folder without a model": (
        "vision: {encoder: .}\n",
        "vision.encoder: '.' could not be loaded",
        "name a folder with a CLIP model, or use encoder: tiny",
    ),
    "term of the loss": (
        "training: {max_steps: 1, loss_weights: {answers: 1}}\n",
        "training.loss_weights.answers: the loss has no such term; did you mean 'answer'?",
    ),
    "file of questions": (
        "data: {train_file: nothing.jsonl}\n",
        "data.train_file: expected a file, found none at 'nothing.jsonl'",
    ),
    "metric": (
        "evaluation: {metrics: [exact_mach]}\n",
        "evaluation.metrics: nothing measures 'exact_mach'; did you mean 'exact_match'",
    ),
}


@pytest.mark.parametrize("case", CONFIGS.values(), ids=CONFIGS)
def test_wrong_experiments(case: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, *messages = case
    start = START.replace("training: {max_steps: 1}\n", "version: '1'\n") if "loss_weights" in text else START
    (tmp_path / "x.yml").write_text(start + text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BemError) as error:
        MultimodalTrainer("x.yml", tmp_path / "run").setup_training()
    for message in messages:
        assert message in str(error.value)


def test_sizes_of_a_loaded_encoder(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**sizes, image_size=32, patch_size=8))
    model.save_pretrained(tmp_path / "clip")
    config = {
        "name": "x",
        "vision": {"encoder": str(tmp_path / "clip"), "dim": 32},
        "training": {"max_steps": 1},
        "hardware": {"device": "cpu"},
    }
    with pytest.raises(ConfigError, match=r"vision\.dim: expected 16, as .*clip has, found 32"):
        MultimodalTrainer(config, tmp_path / "run").setup_training()


def row(**changed: Any) -> dict[str, Any]:
    good = {"image": "good.png", "question": "What color is it?", "answers": ["red"]}
    return {name: value for name, value in (good | changed).items() if value is not None}


ROWS = {
    "missing field": (row(question=None), "question is missing: expected a text"),
    "other name": (
        row(question=None, questions="x"),
        "question is missing: expected a text; is it called 'questions'?",
    ),
    "no answer": (row(answers=[]), "answers: expected a list of texts, found []"),
    "number": (row(answers=[3]), "answers: expected a list of texts, found [3]"),
    "image is no text": (row(image=7), "image: expected a text, found 7"),
    "no object": ([1, 2], "expected an object with image, question and answers, found list"),
    "objects": (row(objects="circle"), "objects: expected a list of objects with name and box, found 'circle'"),
    "object without name": (row(objects=[{"box": [0, 0, 1, 1]}]), "objects[0]: expected an object with name and box"),
    "box in pixels": (row(objects=[{"name": "x", "box": [3, 4, 10, 12]}]), "objects[0].box: expected left, top, right"),
    "box without width": (row(objects=[{"name": "x", "box": [0.5, 0, 0.5, 1]}]), "objects[0].box: expected left, top"),
    "no image": (row(image="other.png"), "image: {}/other.png: no image that can be read: No such file or directory"),
    "text": (row(image="text.png"), "image: {}/text.png: no image that can be read: cannot identify image file"),
    "cut": (row(image="cut.png"), "image: {}/cut.png: no image that can be read: image file is truncated"),
    "folder": (row(image="."), "image: {}: no image that can be read: Is a directory"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_questions(tmp_path / "a.jsonl", draw_questions(1, 0))
    good = (tmp_path / "a-0.png").read_bytes()
    (tmp_path / "good.png").write_bytes(good)
    (tmp_path / "cut.png").write_bytes(good[: len(good) // 2])
    (tmp_path / "text.png").write_text("not an image")
    return tmp_path


@pytest.mark.parametrize(("bad", "message"), ROWS.values(), ids=ROWS)
def test_wrong_questions(bad: Any, message: str, folder: Path) -> None:
    file = folder / "q.jsonl"
    # A blank line does not count as a question but does as a line.
    file.write_text("\n".join([json.dumps(row()), "", json.dumps(bad), ""]))
    with pytest.raises(DataError) as error:
        read_questions(file)
    assert str(error.value).startswith(f"{file}:3: {message.format(folder)}")


def test_all_wrong_lines_are_named_at_once(folder: Path) -> None:
    file = folder / "q.jsonl"
    lines = [row(question=None), row(), row(image="cut.png"), row(answers=None)] + [row(image=1)] * 9
    file.write_text("\n".join(json.dumps(line) for line in lines))
    with pytest.raises(DataError) as error:
        read_questions(file)
    found = str(error.value).splitlines()
    assert [line.split(":")[1] for line in found[:3]] == ["1", "3", "4"]
    assert len(found) == 11
    assert found[-1] == "and 2 more"


def test_a_run_ends_with_one_message(folder: Path) -> None:
    (folder / "q.jsonl").write_text(json.dumps(row(image="cut.png")))
    (folder / "x.yml").write_text(START + "text: {encoder: bytes}\ndata: {train_file: q.jsonl}\n")
    command = [sys.executable, "-m", "bem_core.run", "x.yml", "--output-dir", "run"]
    command += ["--trainer", "bem2.multimodal.unified_trainer:MultimodalTrainer"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "q.jsonl:1: image: " in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert not (folder / "run" / "checkpoints").exists()


def test_a_checkpoint_of_other_answers_is_refused(tmp_path: Path) -> None:
    config = {
        "name": "x",
        "text": {"encoder": "bytes"},
        "training": {"max_steps": 2, "eval_strategy": "no"},
        "hardware": {"device": "cpu"},
    }
    trainer = MultimodalTrainer(config, tmp_path / "run")
    trainer.train()
    other = MultimodalTrainer(config, tmp_path / "other")
    other.setup_training()
    other._answers.texts[0] = "purple"
    with pytest.raises(BemError, match="other answers than the 8 of the data"):
        other.load_checkpoint(next((tmp_path / "run" / "checkpoints").glob("step-*")))
    assert all(torch.isfinite(one).all() for one in other.model.parameters())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"step": None},
            "the old checkpoint is not whole: expected step, best_metrics, and gradient_accumulation_steps",
        ),
        ({"config": {}}, "KeyError('gradient_accumulation_steps')"),
        ({"model_state_dict": {}}, "old.pt: the checkpoint is of another model"),
        ({"optimizer_state_dict": {"state": {}, "param_groups": []}}, "its optimizer has groups of [] parameters"),
    ],
    ids=["step", "config", "model", "optimizer"],
)
def test_an_old_checkpoint_that_is_not_whole(changed: Any, message: str, tmp_path: Path) -> None:
    config = {
        "name": "x",
        "compat": "legacy",
        "text": {"encoder": "bytes"},
        "training": {"max_steps": 8, "warmup_steps": 4},
        "hardware": {"device": "cpu"},
    }
    trainer = MultimodalTrainer(config, tmp_path / "run")
    trainer.setup_training()
    assert trainer.scheduler is not None
    whole = {
        "step": 4,
        "model_state_dict": trainer.model.controller.state_dict(),
        "optimizer_state_dict": trainer.optimizer.state_dict(),
        "scheduler_state_dict": trainer.scheduler.state_dict(),
        "config": {"gradient_accumulation_steps": 4},
        "best_metrics": {},
    }
    torch.save(whole, tmp_path / "old.pt")
    trainer.load_checkpoint(tmp_path / "old.pt")
    assert (trainer.progress.step, trainer.progress.micro_step) == (1, 4)
    torch.save(whole | changed, tmp_path / "old.pt")
    with pytest.raises(CheckpointError) as error:
        trainer.load_checkpoint(tmp_path / "old.pt")
    assert message in str(error.value)
