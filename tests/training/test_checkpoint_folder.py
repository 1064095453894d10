"""The checkpoints of a run: names, the newest, the best, which are deleted, saving in the background."""

from __future__ import annotations

import logging
import math
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bem_core.errors import CheckpointError
from bem_core.training import checkpoint_folder
from bem_core.training.checkpoint import CheckpointFolder, load_tree, save_tree

ROOT = Path(__file__).resolve().parents[2]


def tree(step: int) -> dict[str, Any]:
    return {"model": {"w": torch.full((3,), float(step))}, "trainer": {"step": step}}


def steps(folder: CheckpointFolder) -> list[int]:
    return [entry.step for entry in folder.entries()]


def best_step(folder: CheckpointFolder) -> int | None:
    best = folder.best()
    return best.step if best else None


def test_empty_folder(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "nothing"):
        folder = CheckpointFolder(root)
        assert (folder.entries(), folder.latest(), folder.best(), folder.load_latest()) == ([], None, None, None)


def test_save_and_find(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "a" / "b")
    assert folder.save(500, tree(500)) == tmp_path / "a" / "b" / "step-00000500"
    folder.save(1000, tree(1000), metric=0.5)
    latest = CheckpointFolder(tmp_path / "a" / "b").latest()
    assert latest is not None
    assert (latest.path.name, latest.step, latest.metric) == ("step-00001000", 1000, 0.5)
    assert load_tree(latest.path)["trainer"] == {"step": 1000}


def test_names_by_template_and_nothing_else_is_taken_for_a_checkpoint(tmp_path: Path) -> None:
    for name in ("checkpoint_step_x", "checkpoint_step_", "other", "checkpoint_step_7.old"):
        (tmp_path / name).mkdir()
    (tmp_path / "checkpoint_step_3").write_text("a file of before")
    folder = CheckpointFolder(tmp_path, template="checkpoint_step_{step}", keep_last=1)
    for step in (99, 100, 1000):
        folder.save(step, tree(step))
    assert [entry.path.name for entry in folder.entries()] == ["checkpoint_step_1000"]
    assert len(list(tmp_path.iterdir())) == 6


@pytest.mark.parametrize("template", ["step", "{step}{step}", "{epoch}-{step}", "{}", "a/{step}", "{step", ".{step}"])
def test_bad_templates(template: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"expected a name with one field \{step\}, got"):
        CheckpointFolder(tmp_path, template=template)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"keep_last": 0}, "keep_last: expected at least 1, or None to keep all, got 0"),
        ({"best_mode": "lower"}, "best_mode: expected 'min' or 'max', got 'lower'"),
    ],
)
def test_bad_options(options: Any, text: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=text):
        CheckpointFolder(tmp_path, **options)


@pytest.mark.parametrize(
    ("mode", "metrics", "best"),
    [
        ("min", [3.0, 1.0, 2.0], 1),
        ("max", [1.0, 3.0, 2.0], 1),
        ("min", [1.0, 1.0], 0),
        ("min", [math.nan, 5.0, math.nan], 1),
        ("min", [math.inf, 5.0, -math.inf], 2),
        ("min", [None, 5.0, None], 1),
        ("min", [None, math.nan], None),
        ("max", [np.float64(0.5), torch.tensor(2.0), 1], 1),
    ],
)
def test_best_by_metric(mode: Any, metrics: list[Any], best: int | None, tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, best_mode=mode)
    for step, metric in enumerate(metrics):
        folder.save(step, tree(step), metric=metric)
    assert best_step(CheckpointFolder(tmp_path, best_mode=mode)) == best


def test_caller_may_say_what_is_best(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.save(1, tree(1), metric=1.0, best=True)
    folder.save(2, tree(2), metric=0.5, best=False)
    assert best_step(folder) == 1
    folder.save(3, tree(3), best=True)
    assert best_step(folder) == 3


def test_only_the_newest_and_the_best_stay(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep_last=2)
    for step, metric in enumerate([5.0, 1.0, 4.0, 3.0, 2.0]):
        folder.save(step, tree(step), metric=metric)
    assert steps(folder) == [1, 3, 4]
    folder.save(5, tree(5), metric=0.5)
    assert steps(folder) == [4, 5]
    assert len(list(tmp_path.iterdir())) == 2


def test_going_back_to_an_earlier_step_does_not_delete_what_is_new(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep_last=1)
    folder.save(500, tree(500))
    folder.save(350, tree(350))
    latest = folder.latest()
    assert steps(folder) == [350]
    assert latest is not None
    assert latest.step == 350


def test_saving_a_step_again_without_a_metric_keeps_it_best(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep_last=1)
    folder.save(1, tree(1), metric=1.0)
    folder.save(1, tree(1))
    folder.save(2, tree(2), metric=2.0)
    assert (best_step(folder), steps(folder)) == (1, [1, 2])


def test_broken_ones_are_skipped_with_the_reason_and_never_cost_a_whole_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = CheckpointFolder(tmp_path, keep_last=2)
    for step in (1, 2, 3, 4):
        CheckpointFolder(tmp_path).save(step, tree(step))
    data = bytearray((tmp_path / "step-00000004" / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "step-00000004" / "model.safetensors").write_bytes(data)
    (tmp_path / "step-00000003" / "state.json").unlink()
    (tmp_path / "step-00000002" / "manifest.json").write_text("{")
    found = folder.load_latest()
    assert found is not None
    assert (found[0].step, found[1]["trainer"]) == (1, {"step": 1})
    assert folder.latest() == found[0]
    for reason in (
        "tensor 'w' is not what was saved",
        "state.json: damaged checkpoint: No such file",
        "json: damaged: ",
    ):
        assert reason in caplog.text
    # 4 looks whole from its sizes, 2 and 3 do not and count for nothing.
    folder.save(5, tree(5))
    assert steps(folder) == [4, 5]
    assert folder.save(6, tree(6)).exists()
    assert steps(folder) == [5, 6]


def test_all_broken_is_none(tmp_path: Path) -> None:
    CheckpointFolder(tmp_path).save(1, tree(1))
    (tmp_path / "step-00000001" / "model.safetensors").unlink()
    assert CheckpointFolder(tmp_path).latest() is None


def test_checkpoint_of_somebody_else_is_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_tree(tmp_path / "step-00000001", {"a": 1})
    assert CheckpointFolder(tmp_path).latest() is None
    assert "step-00000001: its manifest does not say 'step'" in caplog.text


@pytest.fixture
def blocked(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Let writing wait for this event."""
    event = threading.Event()
    write = checkpoint_folder.write_parts

    def wait(*args: Any) -> None:
        assert event.wait(30)
        write(*args)

    monkeypatch.setattr(checkpoint_folder, "write_parts", wait)
    return event


def test_background_save_has_the_state_of_its_moment(tmp_path: Path, blocked: threading.Event) -> None:
    model = nn.Linear(2, 2)
    model.tied = model.weight  # type: ignore[assignment]
    plain = [1]
    before = model.weight.detach().clone()
    with CheckpointFolder(tmp_path, asynchronous=True) as folder:
        path = folder.save(1, {"model": model.state_dict(), "plain": plain})
        assert folder.entries() == []
        with torch.no_grad():
            model.weight.add_(1)
        plain.append(2)
        blocked.set()
        folder.wait()
        loaded = load_tree(path)
    assert torch.equal(loaded["model"]["weight"], before)
    assert loaded["model"]["weight"] is loaded["model"]["tied"]
    assert loaded["plain"] == [1]


def test_next_save_waits_for_the_one_before(tmp_path: Path, blocked: threading.Event) -> None:
    with CheckpointFolder(tmp_path, keep_last=1, asynchronous=True) as folder:
        folder.save(1, tree(1))
        threading.Timer(0.1, blocked.set).start()
        folder.save(2, tree(2))
        found = folder.load_latest()
    assert found is not None
    assert found[0].step == 2
    assert steps(folder) == [2]


def test_background_error_comes_with_the_next_call_and_only_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    folder = CheckpointFolder(tmp_path / "file" / "root", asynchronous=True)
    folder.save(1, tree(1))
    with pytest.raises(CheckpointError, match="step-00000001: cannot save the checkpoint: Not a directory"):
        folder.save(2, tree(2))
    folder.save(3, tree(3))
    with pytest.raises(CheckpointError, match="step-00000003"):
        folder.close()
    folder.close()
    assert "checkpoint not saved" in caplog.text


def save_and_fail(folder: CheckpointFolder) -> None:
    with folder:
        folder.save(1, tree(1))
        raise KeyError("first")


def test_error_inside_the_block_is_the_one_that_is_raised(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KeyError, match="first"):
        save_and_fail(CheckpointFolder(tmp_path / "file" / "root", asynchronous=True))


def test_what_cannot_be_stored_is_an_error_at_once(tmp_path: Path) -> None:
    with (
        CheckpointFolder(tmp_path, asynchronous=True) as folder,
        pytest.raises(CheckpointError, match="a: function"),
    ):
        folder.save(1, {"a": lambda: 0})


@pytest.mark.parametrize("end", ["", "raise SystemExit(3)", "raise ValueError"])
def test_end_of_the_process_waits(end: str, tmp_path: Path) -> None:
    code = f"""
import torch
from bem_core.training.checkpoint import CheckpointFolder
folder = CheckpointFolder({str(tmp_path)!r}, asynchronous=True)
folder.save(1, {{"model": torch.ones(5_000_000)}})
{end}
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=120, stderr=subprocess.DEVNULL)
    found = CheckpointFolder(tmp_path).load_latest()
    assert found is not None
    assert bool((found[1]["model"] == 1).all())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("asynchronous", [False, True])
def test_from_and_to_cuda(asynchronous: bool, tmp_path: Path) -> None:
    weight = torch.arange(9.0, device="cuda").reshape(3, 3).T
    with CheckpointFolder(tmp_path, asynchronous=asynchronous) as folder:
        folder.save(1, {"model": {"a": weight, "b": weight}})
        expected = weight.clone()
        weight.zero_()
        found = folder.load_latest(map_location="cuda")
    assert found is not None
    model = found[1]["model"]
    assert model["a"].is_cuda
    assert model["a"] is model["b"]
    assert torch.equal(model["a"], expected)


def test_log_is_silent_when_all_is_well(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), CheckpointFolder(tmp_path, asynchronous=True) as folder:
        folder.save(1, tree(1))
        folder.latest()
    assert caplog.text == ""
