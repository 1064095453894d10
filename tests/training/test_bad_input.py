"""Each mistake is one clear error, and what was in the folder of the run is still there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from bem_core.config import experiment_from_mapping
from bem_core.errors import BemError, CheckpointError, ConfigError, TrainingError
from bem_core.training.base_trainer import BaseTrainer
from tests.training.trainers import Classifier, dataset, loaders, mlp, options, prepared, trained


def returning(**hooks: Any) -> type[Classifier]:
    """A trainer whose hooks return these values."""
    return type("Wrong", (Classifier,), {name: lambda self, *args, _=value: _ for name, value in hooks.items()})


def parameters(*shape: int) -> list[nn.Parameter]:
    return [nn.Parameter(torch.zeros(*shape))]


def a_plateau() -> Any:
    return torch.optim.lr_scheduler.ReduceLROnPlateau(torch.optim.SGD(parameters(1), lr=1.0))


HOOKS: list[Any] = [
    ({"_setup_model": None}, {}, "_setup_model: expected a torch.nn.Module, got NoneType"),
    ({"_setup_optimizer": None}, {}, "_setup_optimizer: expected a torch.optim.Optimizer, got None"),
    (
        {"_setup_optimizer": torch.optim.SGD(parameters(3, 2), lr=1.0)},
        {},
        r"_setup_optimizer: group 0 has a parameter \[3, 2\] that is not the model's",
    ),
    ({"_setup_scheduler": 5}, {}, "_setup_scheduler: expected a scheduler of torch or None, got int"),
    ({"_setup_scheduler": a_plateau()}, {}, "_setup_scheduler: ReduceLROnPlateau needs a metric"),
    ({"_batches": None}, {}, "_batches: expected batches, got None"),
    ({"_loss_weight": "many"}, {}, "_loss_weight: expected a number of at least 0, got 'many'"),
    ({"_loss_weight": -1}, {}, "_loss_weight: expected a number of at least 0, got -1"),
    ({"_loss_weight": float("nan")}, {}, "_loss_weight: expected a number of at least 0, got nan"),
    ({"_collect_rollout": None}, {"batch_source": "rollout"}, "_collect_rollout: expected batches, got None"),
    ({"_compute_loss": None}, {}, "_compute_loss: expected a dict with 'loss', got NoneType"),
    ({"_compute_loss": {"los": 1}}, {}, "_compute_loss: expected a dict with 'loss', got a mapping with 'los'"),
    ({"_compute_loss": {"loss": 1.0}}, {}, "_compute_loss: expected 'loss' to be a scalar tensor, got float"),
    (
        {"_compute_loss": {"loss": torch.zeros(4)}},
        {},
        r"expected 'loss' to be a scalar tensor, got Tensor of shape \(4",
    ),
    ({"_compute_loss": {"loss": torch.zeros(())}}, {}, "'loss' does not depend on any parameter that is trained"),
    ({"_evaluate": None}, {}, "_evaluate: expected a dict of numbers by name, got NoneType"),
    ({"_evaluate": {"loss": "low"}}, {}, "_evaluate: expected 'loss' to be a number, got str"),
    ({"_evaluate": {"loss": torch.zeros(2)}}, {}, "_evaluate: expected 'loss' to be a number, got Tensor"),
    ({"_state": {"x": object()}}, {}, "x.*object"),
    ({"_state": 5}, {}, "_state: expected a mapping, got int"),
]


@pytest.mark.parametrize(("hooks", "training", "message"), HOOKS)
def test_what_a_hook_must_not_return(tmp_path: Path, hooks: Any, training: Any, message: str) -> None:
    with pytest.raises(BemError, match=message):
        trained(tmp_path, returning(**hooks), **{"eval_steps": 2, "gradient_accumulation_steps": 2} | training)


def test_what_a_hook_must_not_return_later(tmp_path: Path) -> None:
    class Later(Classifier):
        def _compute_loss(self, batch: Any, outputs: Any) -> dict[str, Any]:
            found = super()._compute_loss(batch, outputs)
            return {"lost": found["loss"]} if self.progress.step == 2 else found

    with pytest.raises(TrainingError, match=r"_compute_loss: expected a dict with 'loss', got a mapping with 'lost'"):
        trained(tmp_path, Later)


@pytest.mark.parametrize("made", [None, 5, (1, 2, 3)])
def test_loaders_that_are_no_pair(tmp_path: Path, made: Any) -> None:
    trainer = returning(_setup_dataloaders=made)(options(), tmp_path)
    with pytest.raises(TrainingError, match="_setup_dataloaders: expected two loaders, got"):
        trainer.train()


@pytest.mark.parametrize("named", [None, [1]])
def test_modules_to_compute_again_that_are_none(tmp_path: Path, named: Any) -> None:
    with pytest.raises(TrainingError, match="_checkpointed_modules: expected"):
        prepared(
            tmp_path, returning(_checkpointed_modules=named), sections={"hardware": {"gradient_checkpointing": True}}
        )


class Stream(IterableDataset[Any]):
    def __init__(self, size: int) -> None:
        self._size = size

    def __iter__(self) -> Any:
        return iter([dataset(10)[number] for number in range(self._size)])


DATA: list[Any] = [
    (lambda: None, {}, "there is no training data: setup_training got no loader"),
    (lambda: 5, {}, "the training data is a int, which cannot be iterated over"),
    (lambda: DataLoader(dataset(0)), {}, "the training data set is empty: TensorDataset has 0 samples"),
    (lambda: DataLoader(dataset(3), batch_size=4, drop_last=True), {}, "the training loader has no batches: .* 3 samp"),
    (list, {}, "the training data set is empty: list has 0 samples"),
    (lambda: DataLoader(Stream(0)), {}, "epoch 0: the training data gave no batch"),
    (lambda: iter(loaders(8)[0]), {}, r"epoch 1: the training data gave no batch \(can it be iterated over only once"),
    (
        lambda: loaders(12)[0],
        {"gradient_accumulation_steps": 4, "last_window": "drop"},
        "training.gradient_accumulation_steps: a step takes 4 batches, and an epoch has only 3; with last_window: drop",
    ),
    (
        lambda: DataLoader(Stream(3)),
        {"gradient_accumulation_steps": 4, "last_window": "drop"},
        "epoch 0: the training data gave fewer than the 4 batches that a step takes with last_window: drop",
    ),
    (lambda: DataLoader(Stream(3)), {"batch_source": "sampled"}, "training.batch_source: sampled needs a DataLoader"),
    (lambda: [1], {"batch_source": "sampled"}, "training.batch_source: sampled needs a DataLoader whose data set"),
    (lambda: None, {"batch_source": "rollout"}, "training.batch_source: Classifier does not gather rollouts"),
    (lambda: None, {"batch_source": "rollout", "overfit_batches": 1}, "training.overfit_batches: rollouts cannot be"),
]


@pytest.mark.parametrize(("make", "training", "message"), DATA)
def test_data_that_cannot_be_used(tmp_path: Path, make: Callable[[], Any], training: Any, message: str) -> None:
    with pytest.raises(BemError, match=message):
        trained(tmp_path, data=(make(), None), max_steps=9, **training)


def test_an_epoch_that_is_shorter_than_a_window_is_one_step(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its gradient is exact, so this is no error unless windows that are too short are dropped; it is told."""
    _, watch = trained(tmp_path, data=loaders(12), gradient_accumulation_steps=8, max_steps=None, max_epochs=2)
    assert len(watch.losses) == 2
    assert "a step takes 8 batches, and an epoch has only 3, so each epoch is one step" in caplog.text


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "Classifier: expected an experiment, a mapping or the path of a file, got None"),
        (7, "expected an experiment, a mapping or the path of a file, got int"),
        ({"training": {"max_stps": 1}}, "training.max_stps: unknown key; did you mean 'max_steps'"),
        ({"training": {"zero_grad": "never"}}, "training.zero_grad: expected one of"),
        ("nowhere.yaml", "nowhere.yaml"),
        ({"hardware": {"device": "cuda:99"}}, "device 'cuda:99' is not available"),
        ({"hardware": {"device": "gpu"}}, "unknown device 'gpu'"),
        ({"output": {"checkpoint_name": "best"}}, r"expected a name with one field \{step\}, got 'best'"),
    ],
)
def test_configurations_that_are_wrong(tmp_path: Path, config: Any, message: str) -> None:
    with pytest.raises(BemError, match=message):
        Classifier(config, tmp_path)


def test_a_wrong_key_in_a_file_is_told_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("training:\n  max_stps: 1\n")
    with pytest.raises(ConfigError, match=r"x.yaml:2:3: training.max_stps: unknown key; did you mean 'max_steps'"):
        Classifier(path)


def test_a_configuration_comes_in_three_forms(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("training:\n  max_steps: 3\n")
    forms: list[Any] = [path, str(path), {"training": {"max_steps": 3}}]
    forms.append(experiment_from_mapping(forms[2]))
    found = [Classifier(form) for form in forms]
    assert [one.config.training.max_steps for one in found] == [3] * 4
    assert [one.config.name for one in found] == ["mine", "mine", "Classifier", "Classifier"]
    assert [str(one.output_dir) for one in found] == ["outputs/mine"] * 2 + ["outputs/Classifier"] * 2
    assert Classifier(path, experiment_name="other").output_dir == Path("outputs/other")
    assert Classifier({"output": {"output_dir": "there"}}).output_dir == Path("there")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_folder_of_another_run_is_left_alone(tmp_path: Path) -> None:
    """By a new run, by one that goes on from elsewhere, and by a trial."""
    trained(tmp_path / "first", max_steps=5)
    trained(tmp_path / "second", max_steps=5, seed=1)
    before = files(tmp_path / "first")
    with pytest.raises(TrainingError, match=r"first: holds a run already \(metrics.jsonl, .*--resume auto"):
        trained(tmp_path / "first")
    other, _ = prepared(tmp_path / "first", max_steps=9)
    other.resume_from(tmp_path / "second" / "checkpoints" / "step-00000005")
    with pytest.raises(TrainingError, match="holds a run already"):
        other.train()
    trained(tmp_path / "first", fast_dev_run=2)
    assert files(tmp_path / "first") == before


def test_a_checkpoint_of_another_run_begins_a_new_folder(tmp_path: Path) -> None:
    trained(tmp_path / "first", max_steps=5)
    other, _ = prepared(tmp_path / "second", max_steps=7)
    other.resume_from(tmp_path / "first" / "checkpoints" / "step-00000005")
    assert other.train()["total_steps"] == 7
    assert '"step": 5' not in (tmp_path / "second" / "metrics.jsonl").read_text()


def test_a_run_that_was_killed_before_it_saved_anything_begins_anew(tmp_path: Path) -> None:
    tmp_path.joinpath("metrics.jsonl").write_text('{"step": 1}\n')
    trainer, _ = prepared(tmp_path, max_steps=3)
    trainer.resume_from("auto")
    assert trainer.train()["total_steps"] == 3
    assert '{"step": 1}' not in (tmp_path / "metrics.jsonl").read_text()


def test_checkpoints_that_are_all_damaged_are_no_reason_to_begin_anew(tmp_path: Path) -> None:
    trained(tmp_path, max_steps=5)
    for path in (tmp_path / "checkpoints").glob("*/model.safetensors"):
        path.write_bytes(path.read_bytes()[:-4] + b"\0\1\2\3")
    before = files(tmp_path)
    trainer, _ = prepared(tmp_path)
    trainer.resume_from("auto")
    with pytest.raises(CheckpointError, match="checkpoints: none of the checkpoints in it is whole"):
        trainer.train()
    assert files(tmp_path) == before


@pytest.mark.parametrize("place", ["run", "run/deeper/still"])
def test_a_folder_that_cannot_be_made(tmp_path: Path, place: str) -> None:
    """A file in its place; permissions do not stop those who run tests as root."""
    tmp_path.joinpath("run").write_text("mine")
    with pytest.raises(TrainingError, match=f"{place}: cannot be written to: "):
        trained(tmp_path / place)
    assert tmp_path.joinpath("run").read_text() == "mine"


def test_a_disk_that_refuses_a_checkpoint_keeps_those_before(tmp_path: Path) -> None:
    """A file stands in the place of the one at step 6."""
    trainer, _ = prepared(tmp_path, Worse, save_steps=3)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "step-00000006").write_text("mine")
    trainer.owns_folder = True
    with pytest.raises(CheckpointError, match=r"checkpoints/step-00000006: is in the way: not a folder"):
        trainer.train()
    assert [entry.step for entry in trainer.checkpoints.entries()] == [3, 4]


def test_a_place_where_nobody_may_write(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"/proc/nothing: cannot be written to"):
        trained(Path("/proc/nothing"))


class Worse(Classifier):
    """Only the first evaluation is the best."""

    def _evaluate(self, dataloader: Any) -> dict[str, float]:
        return {"loss": float(self.progress.step)}


class Wider(Classifier):
    def _setup_model(self) -> nn.Module:
        model = mlp()
        model[0] = nn.Linear(6, 9)
        model[1] = nn.LayerNorm(9)
        return model


class Deeper(Classifier):
    def _setup_model(self) -> nn.Module:
        return nn.Sequential(*mlp(), nn.Linear(3, 3))


@pytest.mark.parametrize(
    ("kind", "training", "message"),
    [
        (Wider, {}, r"another model\n  .*0.weight: \[8, 6\], the model has \[9, 6\].*1.bias"),
        (Deeper, {}, r"another model\n  2 not in the checkpoint: 5.weight, 5.bias"),
        (Classifier, {"scheduler_type": "none"}, "a run with other options: it has a scheduler, which this run has"),
        (Classifier, {"rollback": {}}, "a run with other options: it has no rollback"),
        (Classifier, {"trained": ["4.*"]}, "the optimizer of the checkpoint has state for '0.bias', which is not tr"),
        (Classifier, {"no_decay": []}, "has 2 groups of parameters, this one has 1"),
    ],
)
def test_a_checkpoint_of_another_model(tmp_path: Path, kind: Any, training: dict[str, Any], message: str) -> None:
    trained(tmp_path, max_steps=5, weight_decay=0.1)
    before = files(tmp_path)
    path = tmp_path / "checkpoints" / "step-00000005"
    trainer, _ = prepared(tmp_path, kind, weight_decay=0.1, **training)
    trainer.resume_from("auto")
    with pytest.raises(CheckpointError, match=message) as caught:
        trainer.train()
    assert str(caught.value).startswith(str(path))
    assert files(tmp_path) == before


def test_a_schedule_of_another_length(tmp_path: Path) -> None:
    trained(tmp_path, max_steps=5, scheduler_type="one_cycle")
    trainer, _ = prepared(tmp_path, max_steps=8, scheduler_type="one_cycle")
    trainer.resume_from("auto")
    with pytest.raises(CheckpointError, match=r"the schedule of the checkpoint is for 5 steps and this run has 8"):
        trainer.train()


@pytest.mark.parametrize(
    ("path", "message"),
    [("nowhere", "there is no such checkpoint; 'auto' takes the newest"), ("", "no checkpoint: manifest.json is miss")],
)
def test_a_checkpoint_that_is_not_there(tmp_path: Path, path: str, message: str) -> None:
    trained(tmp_path, max_steps=5)
    trainer, _ = prepared(tmp_path)

    def go_on() -> None:
        trainer.resume_from(tmp_path / path)
        trainer.train()

    with pytest.raises(CheckpointError, match=message):
        go_on()


def test_the_three_methods_are_asked_for() -> None:
    with pytest.raises(TypeError, match=r"abstract methods? '?_compute_loss'?, '?_evaluate'?, '?_setup_model"):
        BaseTrainer(options())  # type: ignore[abstract]
