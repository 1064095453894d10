"""The experiments of the old repository: every one runs there at tiny size, and loads here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from bem_core.config import load_experiment_config

REPO = Path(__file__).parent / "legacy_repo"
FILES = sorted((REPO / "experiments").glob("*.y*ml"))


def test_there_are_as_many_as_in_the_real_one_and_they_look_like_them() -> None:
    assert len(FILES) >= 52
    texts = [path.read_text() for path in FILES]
    assert all(60 <= text.count("\n") <= 300 for text in texts)
    assert sum("#" in text for text in texts) == len(texts)
    # What PyYAML reads as a text, because there is no dot in it.
    assert sum("learning_rate: 5e-5" in text or "lr: 5e-" in text or "e-4" in text for text in texts) > 40
    bases = [yaml.safe_load(text)["base_config"] for text in texts]
    assert not any((path.parent / base).exists() for path, base in zip(FILES, bases, strict=True))


@pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])
def test_each_loads_here(path: Path) -> None:
    config = load_experiment_config(path, on_dangling="drop")
    assert isinstance(config.training.learning_rate, float)


@pytest.mark.parametrize("part", range(4))
def test_each_runs_there_at_tiny_size(tmp_path: Path, part: int) -> None:
    names = [path.name for path in FILES][part::4]
    environment = {**os.environ, "PYTHONPATH": "src", "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    script = Path(__file__).parent / "legacy_experiments.py"
    command = [sys.executable, "-W", "ignore", str(script), str(tmp_path), *names]
    done = subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True, check=False)
    ran = [line.removeprefix("ran ") for line in done.stdout.splitlines() if line.startswith("ran ")]
    assert ran == names, done.stderr[-2000:]
