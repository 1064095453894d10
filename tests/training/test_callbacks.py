"""What watches a run: metrics files, the log, the bar, TensorBoard, Weights & Biases, the profiler."""

from __future__ import annotations

import csv
import json
import logging
import os
import pty
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from bem_core.training.base_trainer import BaseTrainer
from bem_core.training.callbacks import Callback, ProgressBar
from bem_core.utils.extras import MissingExtraError
from tests.training.trainers import Classifier, Watch, loaders, options, prepared, trained

ROOT = Path(__file__).resolve().parents[2]


def records(folder: Path, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def test_metrics_are_means_since_the_last_line(tmp_path: Path) -> None:
    class Named(Classifier):
        def _compute_loss(self, batch: Any, outputs: Any) -> dict[str, Any]:
            loss = super()._compute_loss(batch, outputs)["loss"]
            parts: dict[str, Any] = {"loss": loss, "half": loss.detach() / 2, "number": float(self.progress.step)}
            return parts | ({"odd": 1} if self.progress.step % 2 else {})

    _, watch = trained(tmp_path, Named, max_steps=7, logging_steps=3, eval_steps=7, learning_rate=0.01)
    found = records(tmp_path)
    assert [(one["step"], one["epoch"]) for one in found] == [(3, 0), (6, 0), (7, 0), (7, 0)]
    assert found[1]["loss"] == pytest.approx(sum(watch.losses[3:6]) / 3)
    assert found[1]["half"] == pytest.approx(found[1]["loss"] / 2)
    assert [one["number"] for one in found[:3]] == [1.0, 4.0, 6.0]
    assert [one.get("odd") for one in found[:3]] == [1.0, 1.0, None]
    assert found[0]["lr"] == pytest.approx(0.01 * 4 / 7)
    assert found[0]["grad_norm"] > 0
    assert set(found[3]) == {"step", "epoch", "eval_loss"}


def test_the_table_has_a_column_for_each_name_and_the_same_digits(tmp_path: Path) -> None:
    trained(tmp_path, max_steps=6, param_groups=[{"match": ["0.*"], "lr_multiplier": 0.5}])
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    lines = records(tmp_path)
    assert len(rows) == len(lines)
    for row, line in zip(rows, lines, strict=True):
        assert {name: value for name, value in row.items() if value} == {name: str(one) for name, one in line.items()}
    assert "lr/group 0" in rows[0]


@pytest.mark.parametrize(
    ("formats", "files"),
    [
        (["jsonl", "csv"], {"metrics.jsonl", "metrics.csv"}),
        (["jsonl"], {"metrics.jsonl"}),
        (["csv"], {".metrics.jsonl", "metrics.csv"}),
        ([], set()),
    ],
)
def test_metrics_are_in_the_files_that_are_asked_for_also_when_a_run_goes_on(
    tmp_path: Path, formats: list[str], files: set[str]
) -> None:
    def run(folder: str, steps: int) -> None:
        sections = {"logging": {"export_formats": formats}}
        training = {"max_steps": steps, "scheduler_type": "none", "logging_steps": 4}
        trainer, _ = prepared(tmp_path / folder, sections=sections, **training)
        trainer.resume_from("auto")
        trainer.train()

    run("whole", 8)
    run("parts", 4)
    run("parts", 8)
    for folder in ("whole", "parts"):
        assert {path.name for path in (tmp_path / folder).iterdir() if "metrics" in path.name} == files
    for name in files:
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes() != b""


def test_records_that_were_deleted_are_told_and_leave_no_gap(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trained(tmp_path, max_steps=5)
    (tmp_path / "metrics.jsonl").unlink()
    again, _ = prepared(tmp_path, max_steps=8)
    again.resume_from("auto")
    with caplog.at_level(logging.WARNING):
        again.train()
    assert "bytes of records from before the checkpoint" in caplog.text
    assert [one["step"] for one in records(tmp_path)] == [6, 8, 8]


def test_numbers_that_are_not_finite_are_null_in_json(tmp_path: Path) -> None:
    class Infinite(Classifier):
        def _evaluate(self, dataloader: Any) -> dict[str, float]:
            return {"loss": float("inf"), "other": float("nan")}

    trained(tmp_path, Infinite, max_steps=2, eval_steps=2)
    assert records(tmp_path)[-1] == {"step": 2, "epoch": 0, "eval_loss": None, "eval_other": None}


def test_speed_and_memory_are_written_beside(tmp_path: Path) -> None:
    trained(tmp_path, max_steps=6, logging_steps=3)
    found = records(tmp_path, "timing.jsonl")
    assert [one["step"] for one in found] == [3, 6]
    assert all(one["steps_per_s"] > 0 and one["peak_memory_bytes"] > 10**7 for one in found)
    # Four samples in a step.
    assert found[1]["samples_per_s"] == pytest.approx(4 * found[1]["steps_per_s"], rel=1e-3)


def test_the_log_has_a_line_for_each_record(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "bem_core.training"):
        trained(tmp_path, max_steps=5, logging_steps=5, eval_steps=5)
    lines = [one.getMessage() for one in caplog.records]
    assert any(line.startswith("step 5  epoch 0  loss ") for line in lines)
    assert any("eval_loss" in line for line in lines)
    assert any(line.startswith("checkpoint ") for line in lines)


def test_the_bar_shows_progress_time_speed_and_loss_on_a_terminal(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from tests.training.trainers import Classifier, trained\n"
        "class Slow(Classifier):\n"
        "    def _on_step_end(self, losses): time.sleep(0.06)\n"
        "trained(Path(sys.argv[1]), Slow, max_steps=12, eval_strategy='no')"
    )
    ours, theirs = pty.openpty()
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, env=env, stderr=theirs)
    os.close(theirs)
    seen = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:
            break
        if not part:
            break
        seen += part
    assert process.wait(60) == 0
    os.close(ours)
    text = seen.decode()
    for piece in ("training", "12/12", "steps/s", "loss ", "0:00:00"):
        assert piece in text, text[-600:]


def test_there_is_no_bar_where_nobody_looks(tmp_path: Path) -> None:
    trainer, _ = prepared(tmp_path)
    assert not any(isinstance(one, ProgressBar) for one in trainer.callbacks)


def test_tensorboard_gets_the_scalars_and_forgets_what_is_done_again(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    sections = {"logging": {"tensorboard_enabled": True}}
    trained(tmp_path, sections=sections, max_steps=6, logging_steps=1, eval_steps=6, save_steps=3)
    again, _ = prepared(tmp_path, sections=sections, max_steps=8, logging_steps=1, eval_steps=6, save_steps=3)
    again.resume_from(tmp_path / "checkpoints" / "step-00000003")
    again.train()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {"loss", "lr", "grad_norm", "eval_loss"}
    assert [one.step for one in events.Scalars("loss")] == [1, 2, 3, 4, 5, 6, 7, 8]
    values = {one["step"]: one["loss"] for one in records(tmp_path) if "loss" in one}
    assert [one.value for one in events.Scalars("loss")] == pytest.approx([values[step] for step in range(1, 9)])


class Service(types.ModuleType):
    """What the trainer uses of ``wandb``; the package talks to a server."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.begun: list[dict[str, Any]] = []
        self.logged: list[tuple[dict[str, float], int]] = []
        self.finished = 0
        self.id = "run-7"

    def init(self, **arguments: Any) -> Service:
        self.begun.append(arguments)
        return self

    def log(self, values: dict[str, float], step: int) -> None:
        self.logged.append((values, step))

    def finish(self) -> None:
        self.finished += 1


def test_weights_and_biases_goes_on_with_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", service := Service())
    given = {"wandb_enabled": True, "wandb_project": "p", "wandb_tags": ["a"], "wandb_config": {"group": "g"}}
    sections = {"logging": given}
    trained(tmp_path, sections=sections, max_steps=6, save_steps=3, eval_steps=6)
    again, _ = prepared(tmp_path, sections=sections, max_steps=8)
    again.resume_from("auto")
    again.train()
    first, second = service.begun
    assert (first["project"], first["name"], first["tags"], first["group"]) == ("p", "tiny", ["a"], "g")
    assert first["config"]["training"]["max_steps"] == 6
    assert "id" not in first
    assert (second["id"], second["resume"]) == ("run-7", "allow")
    assert service.finished == 2
    assert [step for _, step in service.logged] == [3, 6, 6, 8, 8]
    assert "eval_loss" in service.logged[2][0]


@pytest.mark.parametrize(("package", "extra"), [("wandb", "wandb"), ("tensorboard", "tensorboard")])
def test_a_package_that_is_not_there_is_an_error_that_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    message = rf"logging.{package}_enabled needs {package}: pip install 'bem-migrate\[{extra}\]'"
    with pytest.raises(MissingExtraError, match=message):
        prepared(tmp_path, sections={"logging": {f"{package}_enabled": True}})


def test_packages_that_are_not_asked_for_are_not_imported(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.training.trainers import trained\n"
        "trained(Path(sys.argv[1]), max_steps=2)\n"
        "print([name for name in ('wandb', 'tensorboard', 'rich', 'transformers', 'sklearn') if name in sys.modules])"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("steps", [2, 40])
def test_the_profiler_writes_what_it_recorded(tmp_path: Path, steps: int) -> None:
    """Also where the run is shorter than what it warms up and records otherwise."""
    trained(tmp_path, sections={"logging": {"profile_steps": steps}}, max_steps=4)
    trace = json.loads((tmp_path / "profile.json").read_text())
    assert any("aten::addmm" in one.get("name", "") for one in trace["traceEvents"])
    assert "aten::addmm" in (tmp_path / "profile.txt").read_text()


class Failing(Callback):
    """Fails at one of its moments."""

    def __init__(self, moment: str, log: list[str]) -> None:
        self._moment, self._log = moment, log

    def _at(self, moment: str) -> None:
        self._log.append(moment)
        if moment == self._moment:
            raise RuntimeError(f"failed at {moment}")

    def on_train_begin(self, trainer: BaseTrainer) -> None:
        self._at("begin")

    def on_step_end(self, trainer: BaseTrainer, outcome: Any) -> None:
        self._at("step")

    def on_log(self, trainer: BaseTrainer, record: Any) -> None:
        self._at("log")

    def on_evaluate(self, trainer: BaseTrainer, record: Any) -> None:
        self._at("evaluate")

    def on_save(self, trainer: BaseTrainer, path: Path) -> None:
        self._at("save")

    def on_train_end(self, trainer: BaseTrainer) -> None:
        self._at("end")


@pytest.mark.parametrize("moment", ["begin", "step", "log", "evaluate", "save", "end"])
def test_a_callback_that_fails_leaves_the_others_ended_and_the_run_whole(tmp_path: Path, moment: str) -> None:
    before, after = list[str](), list[str]()
    callbacks = [Failing("", before), Failing(moment, []), Failing("", after)]
    trainer = Classifier(options(max_steps=6), tmp_path, callbacks=callbacks)
    trainer.setup_training(*loaders())
    with pytest.raises(RuntimeError, match=f"failed at {moment}"):
        trainer.train()
    assert before[-1] == "end"
    assert after[-1:] == ([] if moment == "begin" else ["end"])
    again, _ = prepared(tmp_path, max_steps=6)
    again.resume_from("auto")
    assert again.train()["total_steps"] == 6


def test_callbacks_keep_state_over_a_resume(tmp_path: Path) -> None:
    class Counting(Watch):
        count = 0

        def on_step_end(self, trainer: BaseTrainer, outcome: Any) -> None:
            self.count += 1

        def state(self) -> dict[str, Any]:
            return {"count": self.count, "as a tensor": torch.tensor(self.count)}

        def load_state(self, state: dict[str, Any]) -> None:
            self.count = state["count"]
            assert state["as a tensor"].item() == self.count

    def run(steps: int) -> Counting:
        counting = Counting()
        trainer = Classifier(options(max_steps=steps), tmp_path, callbacks=[counting])
        trainer.setup_training(*loaders())
        trainer.resume_from("auto")
        trainer.train()
        return counting

    assert run(5).count == 5
    assert run(9).count == 9
