"""Whatever happens while a checkpoint is saved, the one before it can be loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bem_core.errors import CheckpointError
from bem_core.training.checkpoint import load_tree, save_tree

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param("replace", id="crash-at-every-call-that-replaces-a-checkpoint"),
        pytest.param("folder", id="crash-at-every-call-of-a-folder"),
        pytest.param("kill", id="kill-at-any-moment"),
        pytest.param("full", id="disk-full-at-any-place"),
        pytest.param("in_use", id="another-process-saves"),
    ],
)
def test_nothing_is_lost(scenario: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.training.crash_checkpoints", scenario, str(tmp_path / "root")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]


def test_error_at_any_flush_is_reported_and_cleaned_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_tree(tmp_path / "c", {"a": 1})
    calls = left = 0
    fsync = os.fsync

    def fail(descriptor: int) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr("os.fsync", fail)
    # The last one flushes the folder around it, when the new checkpoint is in its place.
    for calls in range(1, 6):
        left = calls
        with pytest.raises(CheckpointError, match="c: cannot save the checkpoint: No space left on device"):
            save_tree(tmp_path / "c", {"model": torch.ones(3), "optimizer": torch.ones(3)})
        assert load_tree(tmp_path / "c") == {"a": 1}
        assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_all_is_flushed_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    fsync, rename = os.fsync, os.rename

    def note_fsync(descriptor: int) -> None:
        events.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        fsync(descriptor)

    def note_rename(source: Path, target: Path) -> None:
        events.append("rename")
        rename(source, target)

    monkeypatch.setattr("os.fsync", note_fsync)
    monkeypatch.setattr("os.rename", note_rename)
    save_tree(tmp_path / "c", {"model": torch.ones(3), "optimizer": torch.ones(3)})
    *files, folder, renamed, around = events
    assert sorted(files) == ["manifest.json", "model.safetensors", "optimizer.safetensors", "state.json"]
    assert files[-1] == "manifest.json"
    assert folder.startswith(".c.new-")
    assert (renamed, around) == ("rename", tmp_path.name)
