"""The multimodal trainer against the one of the old repository, to the last bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from bem2.multimodal.unified_trainer import MultimodalTrainer
from bem_core.utils.seeding import seed_everything
from tests.parity.recording import Differs, compare, load, recording
from tests.parity.unified_multimodal import ACCUMULATION, JOINT, JOINT_SEED, PARTS, SHORT, STEPS, make_trainer, prepare

ROOT = Path(__file__).parents[2]
NOT_MEASURED = {"fallback_rate", "loss", "num_samples"}


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("multimodal")
    prepare(folder)
    paths = [str(ROOT / "tests/legacy_repo/src"), str(ROOT / "tests/parity")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}
    script = ROOT / "tests/parity/legacy_multimodal.py"
    done = subprocess.run([sys.executable, script, folder], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def controller_state(trainer: MultimodalTrainer) -> dict[str, torch.Tensor]:
    return trainer.model.controller.state_dict()


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    assert one.keys() == other.keys()
    return all(torch.equal(value, other[name]) for name, value in one.items())


def measured(trainer: MultimodalTrainer) -> list[dict[str, float]]:
    rows = [{name.removeprefix("eval_"): value for name, value in row.items()} for row in trainer.history]
    return [
        {"step": row["step"] * ACCUMULATION}
        | {name: value for name, value in row.items() if name not in {"step", "epoch", *NOT_MEASURED}}
        for row in rows
    ]


def test_the_loop_is_the_old_one(reference: Path, tmp_path: Path) -> None:
    states = torch.load(reference / "states.pt", weights_only=True)
    trainer = make_trainer(reference, tmp_path / "run")
    trainer.setup_training()
    assert same(controller_state(trainer), states["initial"])
    with recording() as events:
        done = trainer.train()
    assert compare(load(reference / "whole.pt"), events) == STEPS // ACCUMULATION
    assert same(controller_state(trainer), states["whole"])
    evaluations = json.loads((reference / "evaluations.json").read_text())
    assert measured(trainer) == evaluations["whole"]
    assert done["best_metric"] == evaluations["best"]["f1_score"]


def test_it_goes_on_from_an_old_checkpoint(reference: Path, tmp_path: Path) -> None:
    """This one has codes for tokens too, as controllers had where nobody said otherwise."""
    states = torch.load(reference / "states.pt", weights_only=True)
    trainer = make_trainer(reference, tmp_path / "run", token_level=True, **SHORT)
    trainer.setup_training()
    trainer.resume_from(reference / "parts" / f"checkpoint_step_{JOINT}.pt")
    seed_everything(JOINT_SEED)
    with recording() as events:
        trainer.train()
    assert compare(load(reference / "second.pt"), events) == (PARTS - JOINT) // ACCUMULATION
    assert same(controller_state(trainer), states["parts"])
    evaluations = json.loads((reference / "evaluations.json").read_text())
    assert measured(trainer) == [row for row in evaluations["parts"] if row["step"] > JOINT]


@pytest.mark.parametrize(
    "changed", [{"learning_rate": 5.0001e-3}, {"clip_interval": "step"}, {"zero_grad": "before_backward", "seed": 1}]
)
def test_another_option_is_noticed(reference: Path, tmp_path: Path, changed: dict[str, Any]) -> None:
    trainer = make_trainer(reference, tmp_path / "run", **changed, max_steps=40, warmup_steps=4, eval_steps=40)
    with recording() as events:
        trainer.train()
    record = load(reference / "whole.pt")
    with pytest.raises(Differs):
        compare(record[: len(events)], events)
