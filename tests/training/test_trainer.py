"""The trainer as a whole: what it leaves behind, in which order it may be used, what it costs in memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from bem_core.config import load_experiment_config
from bem_core.errors import TrainingError
from bem_core.training.checkpoint import load_tree
from bem_core.utils.digest import digest
from tests.training.trainers import Classifier, loaders, options, prepared, trained, weights

ROOT = Path(__file__).resolve().parents[2]


def test_a_run_leaves_what_it_was_made_with(tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump({"training": {"max_steps": 4, "seed": 7}, "hardware": {"device": "cpu"}}))
    trainer = Classifier(path, tmp_path / "run")
    trainer.setup_training(*loaders())
    trainer.train()
    found = {one.name for one in (tmp_path / "run").iterdir()}
    assert found == {
        *("checkpoints", "config.yaml", "environment.json", "metrics.csv", "metrics.jsonl"),
        *("run.json", "sources.json", "timing.jsonl"),
    }
    assert load_experiment_config(tmp_path / "run" / "config.yaml") == trainer.config
    read = {name: json.loads((tmp_path / "run" / f"{name}.json").read_text()) for name in ("run", "sources")}
    assert read["sources"]["training.seed"].endswith("tiny.yaml:5:9")
    assert read["run"] == {
        "component": "tests.training.trainers.Classifier",
        "seed": 7,
        "device": "cpu",
        "processes": 1,
    }
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["packages"]["torch"] == torch.__version__
    assert environment["hardware"]["num_cores"] > 0


def test_what_train_returns(tmp_path: Path) -> None:
    trainer, watch = prepared(tmp_path, max_steps=20, eval_steps=8)
    done = trainer.train()
    assert {name: done[name] for name in ("total_steps", "total_epochs", "stop_reason", "output_dir")} == {
        "total_steps": 20,
        "total_epochs": 1,
        "stop_reason": "max_steps",
        "output_dir": str(tmp_path),
    }
    assert [one["step"] for one in done["eval_history"]] == watch.evaluated == [8, 16, 20]
    assert done["final_metrics"] == done["eval_history"][-1]
    assert done["best_metric"] == min(one["eval_loss"] for one in done["eval_history"])
    assert done["total_time_s"] > 0


def test_the_same_seed_gives_the_same_run_and_another_one_does_not(tmp_path: Path) -> None:
    def run(name: str, seed: int) -> dict[str, Any]:
        return weights(trained(tmp_path / name, seed=seed)[0].model)

    assert run("a", 1) == run("b", 1) != run("c", 2)


def test_training_again_after_the_end_changes_nothing(tmp_path: Path) -> None:
    for again in (False, True):
        sections = {"output": {"async_save": again}}
        trainer, watch = trained(tmp_path / str(again), sections=sections, max_steps=5)
        before, seen = weights(trainer.model), list(watch.saved)
        assert trainer.train()["stop_reason"] == "max_steps"
        assert (weights(trainer.model), watch.saved) == (before, seen)
        assert (tmp_path / str(again) / "metrics.jsonl").read_text().count('"step": 5') == 2
        assert trainer.save_checkpoint() is not None
        trainer.checkpoints.close()


def test_evaluation_before_training_changes_nothing(tmp_path: Path) -> None:
    class Rude(Classifier):
        def _evaluate(self, dataloader: Any) -> dict[str, float]:
            torch.rand(3)
            self.model.train()
            return super()._evaluate(dataloader)

    plain, _ = trained(tmp_path / "plain", Rude, max_steps=5)
    curious, _ = prepared(tmp_path / "curious", Rude, max_steps=5)
    curious.model[3].eval()  # type: ignore[operator]
    assert set(curious.evaluate()) == {"eval_loss"}
    assert not curious.model[3].training  # type: ignore[operator]
    assert all(one.grad is None for one in curious.model.parameters())
    curious.train()
    assert weights(curious.model) == weights(plain.model)


def test_loaders_may_come_from_the_component(tmp_path: Path) -> None:
    class Own(Classifier):
        def _setup_dataloaders(self) -> Any:
            return loaders()

    trainer = Own(options(max_steps=4), tmp_path / "own")
    assert trainer.train()["total_steps"] == 4
    assert Own(options(), tmp_path / "other").evaluate()["eval_loss"] > 0
    given, _ = trained(tmp_path / "given", max_steps=4)
    assert weights(trainer.model) == weights(given.model)
    with pytest.raises(TrainingError, match="there is no evaluation data"):
        prepared(tmp_path, data=(loaders()[0], None))[0].evaluate()


def test_a_checkpoint_may_be_saved_and_loaded_by_hand(tmp_path: Path) -> None:
    first, _ = prepared(tmp_path / "first", max_steps=4)
    path = first.save_checkpoint()
    assert path is not None
    first.train()
    second = Classifier(options(max_steps=4), tmp_path / "second", callbacks=[])
    second.setup_training(*loaders())
    torch.nn.init.zeros_(second.model.get_parameter("0.weight"))
    second.load_checkpoint(path)
    second.train()
    assert weights(second.model) == weights(first.model)


def test_a_trial_run_evaluates_one_batch_and_saves_nothing(tmp_path: Path) -> None:
    batches = []

    class Counting(Classifier):
        def _evaluate(self, dataloader: Any) -> dict[str, float]:
            batches.append(len(list(dataloader)))
            return super()._evaluate(dataloader)

    sections = {
        "logging": {"tensorboard_enabled": True, "profile_steps": 1},
        "output": {"load_best_model_at_end": True},
    }
    trainer, watch = prepared(tmp_path / "run", Counting, sections=sections, fast_dev_run=3, max_steps=500)
    assert trainer.train()["total_steps"] == 3
    assert (batches, watch.logged, watch.saved) == ([1], [1, 2, 3], [])
    assert trainer.save_checkpoint() is None
    assert not (tmp_path / "run").exists()


def test_saving_in_the_background_gives_the_same_checkpoints(tmp_path: Path) -> None:
    trees = []
    for later in (False, True):
        folder = tmp_path / str(later)
        trained(folder, sections={"output": {"async_save": later}}, max_steps=9, save_steps=2)
        found = {}
        for path in sorted((folder / "checkpoints").iterdir()):
            tree = load_tree(path)
            del tree["trainer"]["progress"]["elapsed_s"]
            found[path.name] = digest(tree)
        trees.append(found)
    assert trees[0] == trees[1]
    assert list(trees[0]) == [f"step-{step:08d}" for step in (2, 4, 6, 8, 9)]


def test_names_of_checkpoints_are_an_option(tmp_path: Path) -> None:
    trained(tmp_path, sections={"output": {"checkpoint_name": "checkpoint-{step}"}}, max_steps=3, save_steps=2)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["checkpoint-2", "checkpoint-3"]


MEMORY = """
import gc, sys, tracemalloc
from pathlib import Path
from tests.training.trainers import prepared

trainer, watch = prepared(Path(sys.argv[1]), max_steps=3200, logging_steps=64, eval_strategy="no", save_strategy="no")
trainer.callbacks.remove(watch)
sizes = {}

def look(losses):
    if trainer.progress.step in (640, 1920, 3200):
        gc.collect()
        sizes[trainer.progress.step] = tracemalloc.get_traced_memory()[0]

trainer._on_step_end = look
trainer.overrides = lambda hook: True
tracemalloc.start()
trainer.train()
print(min(sizes[1920] - sizes[640], sizes[3200] - sizes[1920]))
"""


def test_memory_does_not_grow_with_the_steps(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", MEMORY, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=True)
    # The smallest object kept for each step would be 30 kB in both of two spans; caches fill in one of them.
    assert int(done.stdout) < 15_000


def test_a_component_logs_those_of_its_metrics_that_are_asked_for(tmp_path: Path) -> None:
    class Watched(Classifier):
        def _metrics(self) -> dict[str, float]:
            return {"twice": 2.0 * self.progress.step, "hidden": 1.0}

    sections = {"logging": {"metrics_to_log": ["twice", "absent"], "log_frequency": 2}}
    prepared(tmp_path, Watched, sections=sections, max_steps=5, logging_steps=100)[0].train()
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [record for record in records if "twice" in record] == [
        {"step": 2, "epoch": 0, "twice": 4.0},
        {"step": 4, "epoch": 0, "twice": 8.0},
    ]
    assert not any("hidden" in record for record in records)
