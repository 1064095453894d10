"""Runs of the safety trainer: from files, from a folder of transformers, broken off and gone on with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from bem2.safety.unified_trainer import SafetyTrainer
from bem_core.config import load_experiment_config
from tests.parity.safety_task import batches, loader
from tests.safety.runs import SMALL, experiment, prepared

ROOT = Path(__file__).parents[2]
LEGACY = ROOT / "tests/legacy_repo"


@pytest.mark.parametrize("name", ["VC0", "VC1_strict"])
def test_experiments_of_the_project_run_from_their_file_alone(name: str, tmp_path: Path) -> None:
    changes = [
        "training.max_steps=3",
        "training.save_strategy='no'",
        "training.deterministic=false",
        "hardware.device=cpu",
    ]
    config = load_experiment_config(ROOT / f"experiments/{name}.yml", overrides=changes)
    summary = SafetyTrainer(config, tmp_path).train()
    assert summary["total_steps"] == 3
    assert {"eval_loss", "eval_safety_score", "eval_violation_rate"} <= summary["final_metrics"].keys()


def test_texts_of_a_file_and_a_model_of_transformers(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    made = experiment(
        model=dict.fromkeys(experiment()["model"]) | {"base_model": str(LEGACY / "models/tiny-causal-lm")},
        data={
            "train_file": str(LEGACY / "data/train.jsonl"),
            "validation_file": str(LEGACY / "data/val.jsonl"),
            "max_seq_length": 24,
        },
        training={"max_steps": 4, "eval_strategy": "steps", "eval_steps": 4},
        safety_basis={"rank": 2},
    )
    trainer = SafetyTrainer(made, tmp_path)
    trainer.setup_training()
    layers = len(trainer.model.basis.layers)
    assert layers == trainer.model.base.config.num_hidden_layers
    assert trainer.train()["final_metrics"]["eval_utility_loss"] > 0
    batch = next(iter(trainer.eval_dataloader))
    assert batch["violations"].shape[1] == 19
    assert 0 < (batch["violations"] > 0).any(1).sum() < len(batch["violations"])


class Stop(SafetyTrainer):
    def _on_step_end(self, losses: Any) -> None:
        super()._on_step_end(losses)
        if self.progress.step == 21:
            self.request_stop("signal")


def options(**training: Any) -> dict[str, Any]:
    phases = {
        "stage_warmup_steps": 8,
        "enable_curriculum": True,
        "rollback_threshold": 1,
        "performance_check_frequency": 7,
    }
    made = experiment(phases | {"safety_warmup_epochs": 1}, constraints={"check_steps": 5})
    made["training"] |= {"max_steps": 40, "save_strategy": "steps", "save_steps": 100} | training
    made["constitutional_scorer"] |= {"dropout": 0.1}
    return made


def test_a_run_that_was_broken_off_in_an_epoch_ends_as_one_that_was_not(tmp_path: Path) -> None:
    whole = SafetyTrainer(options(), tmp_path / "whole")
    whole.setup_training(loader(128, 8), batches())
    whole.train()
    first = Stop(options(), tmp_path / "parts")
    first.setup_training(loader(128, 8), batches())
    first.train()
    assert first.progress.step == 21
    second = SafetyTrainer(options(), tmp_path / "parts")
    second.setup_training(loader(128, 8), batches())
    second.resume_from("auto")
    second.train()
    assert second.progress.step == 40
    ours, theirs = second.model.state_dict(), whole.model.state_dict()
    assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []
    assert second.dual is not None
    assert whole.dual is not None
    assert second.dual.param_groups[0]["lr"] == whole.dual.param_groups[0]["lr"]


def test_accumulation_equals_one_large_batch(tmp_path: Path) -> None:
    """Up to rounding; the losses of scorer and constraint are means over texts, and texts are of one length here."""
    plain = {"training": {"max_steps": 1, "optimizer": "sgd", "learning_rate": 0.1, "max_grad_norm": 0}}
    large = prepared(tmp_path / "large", **plain)
    large.setup_training(batches(16, 16))
    large.train()
    plain["training"] |= {"gradient_accumulation_steps": 2}
    small = prepared(tmp_path / "small", **plain)
    small.setup_training(batches(16, 8))
    small.train()
    ours, theirs = small.model.base.state_dict(), large.model.base.state_dict()
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-4) for name in theirs)


def test_metrics_that_the_template_names_are_logged(tmp_path: Path) -> None:
    named = ["multiplier", "safety_level", "safety_score", "violation_rate", "helpfulness_score"]
    trainer = prepared(tmp_path, training={"max_steps": 2}, logging={"metrics_to_log": named, "log_frequency": 2})
    trainer.train()
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert any(set(named) <= record.keys() for record in records)


def test_rollback_can_be_switched_off_and_set_by_the_options_of_the_trainer(tmp_path: Path) -> None:
    assert prepared(tmp_path / "off").rollback is None
    on = SafetyTrainer(experiment({"rollback_threshold": 2}), tmp_path / "on").config.training.rollback
    assert on is not None
    assert (on.metric, on.best_metric, on.threshold, on.max_increase) == ("utility_loss", "violation_rate", 2, 0.01)
    made = experiment({"rollback_threshold": 2}, training={"rollback": {"metric": "loss", "window": 3}})
    own = SafetyTrainer(made, tmp_path / "own").config.training.rollback
    assert own is not None
    assert (own.metric, own.window) == ("loss", 3)


def test_small_settings_are_what_the_parts_get(tmp_path: Path) -> None:
    model = prepared(tmp_path).model
    assert len(model.scorer.text_encoder.layers) == SMALL["num_layers"]
    assert model.basis.layers[0].U.shape == (16, 4)


def test_two_processes_train_while_the_bases_do_not_move_and_afterwards(tmp_path: Path) -> None:
    """Frozen bases have no gradient, which is what ``find_unused_parameters`` is for; two steps are an epoch here."""
    given = {
        "output.output_dir": tmp_path / "run",
        "hardware.device": "cpu",
        "hardware.find_unused_parameters": "true",
        "data.params.synthetic_samples": 32,
        "data.params.validation_samples": 8,
        "training.batch_size": 8,
        "training.max_steps": 4,
        "training.save_strategy": "'no'",
        "training.deterministic": "false",
    }
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "bem_core.run",
    ]
    command += [str(ROOT / "experiments/VC0.yml"), "--trainer", "bem2.safety.unified_trainer:SafetyTrainer"]
    command += [f"{name}={value}" for name, value in given.items()]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    # Gates fail after so few steps, which is exit code 1 of the run.
    assert "4 steps" in done.stdout, done.stderr[-2000:]
    assert "eval_violation_rate" in done.stdout
