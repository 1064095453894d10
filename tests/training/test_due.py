"""When a run is evaluated, saved and logged; which evaluation is the best; when it ends."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from bem_core.errors import ConfigError, TrainingError
from bem_core.training.base_trainer import BaseTrainer
from bem_core.training.checkpoint import load_tree
from bem_core.training.state import Due
from tests.training.trainers import Classifier, Watch, loaders, prepared, trained, weights

# Options of 13 batches an epoch; where a run of 20 steps is evaluated, and where it is saved.
CASES: dict[str, tuple[dict[str, Any], list[int], list[int]]] = {
    "steps": ({"eval_steps": 6, "save_steps": 8}, [6, 12, 18, 20], [8, 16, 20]),
    "from the first step on": ({"eval_steps": 6, "eval_start": 1}, [1, 7, 13, 19, 20], [20]),
    "before training too": ({"eval_steps": 10, "eval_start": 0}, [0, 10, 20], [20]),
    "a late start": ({"eval_steps": 4, "eval_start": 15}, [15, 19, 20], [20]),
    "the last step is due anyway": ({"eval_steps": 10, "save_steps": 20}, [10, 20], [20]),
    "epochs": ({"eval_strategy": "epoch", "save_strategy": "epoch"}, [13, 20], [13, 20]),
    "evaluation by epochs, saving by steps": ({"eval_strategy": "epoch", "save_steps": 13}, [13, 20], [13, 20]),
    "neither": ({"eval_strategy": "no", "save_strategy": "no"}, [], []),
    "each step": ({"max_steps": 3, "eval_steps": 1, "save_steps": 1}, [1, 2, 3], [1, 2, 3]),
    "windows": ({"gradient_accumulation_steps": 4, "eval_steps": 3, "eval_strategy": "steps"}, [3, 6, 9, 12], [20]),
    "micro-steps": (
        {"gradient_accumulation_steps": 4, "progress_unit": "micro_step", "eval_steps": 6, "save_steps": 7},
        [2, 3, 6],
        [2, 5, 6],
    ),
}


class Worse(Classifier):
    """An evaluation that gets worse all the time, so that nothing is saved for being the best."""

    def _evaluate(self, dataloader: Any) -> dict[str, float]:
        return {"loss": float(self.progress.step)}


@pytest.mark.parametrize("case", CASES)
def test_evaluation_and_saving_come_exactly_at_their_steps(case: str, tmp_path: Path) -> None:
    training, evaluated, saved = CASES[case]
    _, watch = trained(tmp_path, Worse, **{"max_steps": 20, "eval_steps": 100, "save_steps": 100} | training)
    if case == "windows":
        evaluated = [3, 6, 9, 12, 15, 18, 20]
    assert watch.evaluated == evaluated
    # The first evaluation is the best one so far, and so it is saved.
    kept = {step for step in evaluated[:1] if saved}
    assert sorted(set(watch.saved)) == sorted({*saved, *kept})


def test_counts_that_grow_by_more_than_one_pass_no_interval_by() -> None:
    due = Due("steps", 3, 2)
    counts = [-1, 0, 1, 4, 5, 11, 12]
    assert [now for before, now in pairwise(counts) if due.at(before, now)] == [4, 5, 11]


def test_time_decides_where_it_is_asked_to() -> None:
    now = [0.0]
    due = Due("time", 1, None, 10.0, lambda: now[0])
    found = []
    for step in range(1, 8):
        now[0] += 4.0
        found.append(due.at(step - 1, step))
    assert found == [False, False, True, False, False, True, False]


def test_a_run_can_be_evaluated_and_saved_by_the_clock(tmp_path: Path) -> None:
    often = {"eval_interval_s": 1e-9, "save_interval_s": 1e-9}
    _, watch = trained(tmp_path, max_steps=3, eval_strategy="time", save_strategy="time", **often)
    assert watch.evaluated == watch.saved == [1, 2, 3]


def test_lines_of_the_log_come_at_their_steps_and_at_the_end(tmp_path: Path) -> None:
    assert trained(tmp_path, max_steps=8, logging_steps=3)[1].logged == [3, 6, 8]


# Metrics of the evaluations in their order.
SEQUENCE = [0.5, 0.3, 0.4, 0.9, 0.2, 0.2]


class Given(BaseTrainer):
    """Reports metrics that are given."""

    names = ("loss", "f1")

    _setup_model = Classifier._setup_model
    _forward = Classifier._forward
    _compute_loss = Classifier._compute_loss

    def _evaluate(self, dataloader: Any) -> dict[str, float]:
        return dict.fromkeys(self.names, SEQUENCE[len(self.history)])


@pytest.mark.parametrize(
    ("output", "best", "step"),
    [
        pytest.param({}, 0.2, 5, id="loss by default, the first of equal ones"),
        pytest.param({"metric_for_best_model": "loss"}, 0.2, 5, id="loss"),
        pytest.param({"metric_for_best_model": "eval_f1"}, 0.9, 4, id="the direction of the metric"),
        pytest.param({"metric_for_best_model": "f1_score"}, 0.9, 4, id="another name of it"),
        pytest.param({"metric_for_best_model": "F1", "greater_is_better": False}, 0.2, 5, id="a direction that is set"),
        pytest.param({"metric_for_best_model": "loss", "greater_is_better": True}, 0.9, 4, id="loss upwards"),
    ],
)
def test_the_best_is_told_by_metric_and_direction(
    tmp_path: Path, output: dict[str, Any], best: float, step: int
) -> None:
    sections = {"output": output | {"save_total_limit": 1, "load_best_model_at_end": True}}
    training = {"max_steps": 6, "eval_steps": 1, "save_steps": 2}
    trainer, _ = trained(tmp_path, Given, sections=sections, **training)
    assert (trainer.progress.best, trainer.progress.best_step) == (best, step)
    kept = [entry.step for entry in trainer.checkpoints.entries()]
    assert kept == sorted({step, 6})
    found = load_tree(tmp_path / "checkpoints" / f"step-{step:08d}")["model"]
    assert {name: value.flatten().tolist() for name, value in found.items()} == weights(trainer.model)


def test_the_newest_ones_and_the_best_one_are_kept(tmp_path: Path) -> None:
    sections = {"output": {"save_total_limit": 2}}
    trainer, _ = trained(tmp_path, Worse, sections=sections, max_steps=9, eval_steps=2, save_steps=1)
    assert [entry.step for entry in trainer.checkpoints.entries()] == [2, 8, 9]
    assert trainer.checkpoints.best().step == 2


def test_the_best_one_stays_the_best_when_its_step_is_saved_again(tmp_path: Path) -> None:
    """The step is the last one of an epoch, which is saved for the epoch too."""
    trainer, _ = trained(tmp_path, Worse, max_steps=20, eval_steps=13, save_strategy="epoch")
    assert trainer.checkpoints.best().step == 13


def test_an_evaluation_before_training_can_be_the_best(tmp_path: Path) -> None:
    sections = {"output": {"load_best_model_at_end": True}}
    trainer, _ = prepared(tmp_path, Worse, sections=sections, max_steps=4, eval_start=0)
    before = weights(trainer.model)
    trainer.train()
    assert weights(trainer.model) == before


def test_a_missing_metric_is_an_error_with_the_nearest_name(tmp_path: Path) -> None:
    sections = {"output": {"metric_for_best_model": "los"}}
    with pytest.raises(TrainingError, match=r"output.metric_for_best_model: .* 'eval_los'; did you mean 'eval_loss'"):
        trained(tmp_path, sections=sections)


def test_without_a_loss_nothing_is_the_best_unless_something_depends_on_it(tmp_path: Path) -> None:
    class Named(Given):
        names = ("speed",)

    trainer, _ = trained(tmp_path / "a", Named)
    assert trainer.progress.best is None
    with pytest.raises(TrainingError, match="no metric 'eval_loss'; did you mean 'eval_speed'"):
        trained(tmp_path / "b", Named, early_stopping_patience=2)


@pytest.mark.parametrize(
    ("patience", "threshold", "stops_at"), [(1, 0.0, 3), (2, 0.0, 4), (3, 0.0, 6), (2, 0.25, 3), (4, 0.0, 6)]
)
def test_patience_ends_a_run(tmp_path: Path, patience: int, threshold: float, stops_at: int) -> None:
    given = {"early_stopping_patience": patience, "early_stopping_threshold": threshold}
    trainer, watch = prepared(tmp_path, Given, max_steps=6, eval_steps=1, save_strategy="no", **given)
    done = trainer.train()
    assert watch.evaluated[-1] == stops_at
    assert done["stop_reason"] == ("early_stopping" if stops_at < 6 else "max_steps")


def test_a_value_that_is_not_finite_is_never_the_best(tmp_path: Path) -> None:
    class Broken(Classifier):
        def _evaluate(self, dataloader: Any) -> dict[str, float]:
            return {"loss": float("nan") if len(self.history) % 2 == 0 else 0.5}

    trainer, _ = trained(tmp_path, Broken, max_steps=6, eval_steps=2)
    assert (trainer.progress.best, trainer.progress.best_step) == (0.5, 4)


@pytest.mark.parametrize(
    ("training", "reason", "steps"),
    [
        pytest.param({"max_steps": 7}, "max_steps", 7, id="steps"),
        pytest.param({"max_steps": None, "max_epochs": 2}, "max_epochs", 26, id="epochs"),
        pytest.param({"max_steps": 7, "max_epochs": 2}, "max_steps", 7, id="steps come first"),
        pytest.param({"max_steps": 70, "max_epochs": 1}, "max_epochs", 13, id="epochs come first"),
        pytest.param({"max_steps": 70, "max_time_s": 1e-9}, "max_time_s", 1, id="time"),
        pytest.param(
            {"max_steps": 6, "progress_unit": "micro_step", "gradient_accumulation_steps": 4},
            "max_steps",
            2,
            id="micro",
        ),
    ],
)
def test_what_comes_first_ends_a_run(tmp_path: Path, training: dict[str, Any], reason: str, steps: int) -> None:
    trainer, watch = prepared(tmp_path, **training)
    done = trainer.train()
    assert (done["stop_reason"], done["total_steps"]) == (reason, steps)
    # Whatever ended it, it can go on; time that is over does not ask for another evaluation.
    assert watch.saved[-1] == steps
    assert (watch.evaluated[-1:] == [steps]) == (reason != "max_time_s")


def test_a_step_that_was_evaluated_and_saved_is_not_again_when_the_run_goes_on(tmp_path: Path) -> None:
    trained(tmp_path, max_steps=4)
    before = (tmp_path / "metrics.jsonl").read_bytes()
    again, watch = prepared(tmp_path, max_steps=4)
    again.resume_from("auto")
    again.train()
    assert (watch.evaluated, watch.saved) == ([], [])
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


class Player(Classifier):
    """Gathers three batches an epoch."""

    def _collect_rollout(self, epoch: int) -> Any:
        return list(loaders(12)[0])


def test_rollouts_are_evaluated_and_saved_at_the_end_of_their_epoch(tmp_path: Path) -> None:
    training = {"batch_source": "rollout", "max_steps": 8, "eval_steps": 2, "save_steps": 4}
    trainer, watch = trained(tmp_path, Player, data=(None, loaders()[1]), **training)
    assert watch.evaluated == [3, 6, 8]
    assert set(watch.saved) >= {6, 8}
    assert trainer.progress.epoch == 2


@pytest.mark.parametrize(
    ("training", "output", "message"),
    [
        ({"eval_strategy": "time"}, {}, "training.eval_strategy: time needs training.eval_interval_s"),
        ({"save_strategy": "time"}, {}, "training.save_strategy: time needs training.save_interval_s"),
        ({"save_strategy": "no"}, {"load_best_model_at_end": True}, "output.load_best_model_at_end: nothing is saved"),
        ({"eval_strategy": "no"}, {"load_best_model_at_end": True}, "output.load_best_model_at_end: nothing is eval"),
        ({"eval_strategy": "no", "early_stopping_patience": 1}, {}, "training.early_stopping_patience: nothing is ev"),
        ({"batch_source": "sampled", "eval_strategy": "epoch"}, {}, "training.eval_strategy: .*sampled has no epochs"),
        ({"batch_source": "fresh_loader", "max_epochs": 2}, {}, "training.max_epochs: .*fresh_loader has no epochs"),
        ({"batch_source": "sampled", "scheduler_interval": "epoch"}, {}, "training.scheduler_interval: .*no epochs"),
        ({"max_steps": None}, {}, "training: nothing says when to end"),
    ],
)
def test_what_would_never_happen_is_an_error(
    tmp_path: Path, training: dict[str, Any], output: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        prepared(tmp_path, sections={"output": output}, **training)


def test_early_stopping_needs_data(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"training.early_stopping_patience: there is no evaluation data"):
        prepared(tmp_path, data=(loaders()[0], None), early_stopping_patience=1)


def test_callbacks_can_end_a_run(tmp_path: Path) -> None:
    class Stop(Watch):
        def on_step_end(self, trainer: BaseTrainer, outcome: Any) -> None:
            if trainer.progress.step == 3:
                trainer.request_stop("enough")
                trainer.request_stop("too late")

    trainer = Classifier({"name": "x", "training": {"max_steps": 9}}, tmp_path, callbacks=[stop := Stop()])
    trainer.setup_training(*loaders())
    assert trainer.train()["stop_reason"] == "enough"
    assert (stop.evaluated, stop.saved) == ([3], [3])
    assert torch.isfinite(torch.tensor(trainer.progress.best))
