"""The component that the guide builds is the code in the guide, and it trains from its experiment."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "developer_guide.md").read_text(encoding="utf-8")
LANGUAGES = (
    "the cat sat on the mat and then it ran off".split(),
    "die katze sa\u00df auf der matte und lief weg".split(),
)


def block(kind: str) -> str:
    return TEXT.partition(f"```{kind}\n")[2].partition("```")[0]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """This repository's components and the files of the guide, at the places that it names."""
    shutil.copytree(ROOT / "bem2", tmp_path / "bem2", ignore=shutil.ignore_patterns("__pycache__"))
    for kind, file in (("python", "bem2/probe/unified_trainer.py"), ("yaml", "experiments/probe_small.yml")):
        assert f"`{file}`" in TEXT
        (tmp_path / file).parent.mkdir()
        (tmp_path / file).write_text(block(kind), encoding="utf-8")
    draw = random.Random(0)
    (tmp_path / "data").mkdir()
    for name, size in (("train", 400), ("val", 100)):
        classes = [draw.randrange(2) for _ in range(size)]
        lines = [{"text": " ".join(draw.choices(LANGUAGES[one], k=6)), "language": one} for one in classes]
        (tmp_path / "data" / f"{name}.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return tmp_path


def run(project: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    trainer = "bem2.probe.unified_trainer:ProbeTrainer"
    command = [sys.executable, "-m", "bem_core.run", "experiments/probe_small.yml", "--trainer", trainer, *overrides]
    env = {**os.environ, "PYTHONPATH": f"{project}:{ROOT}", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=project, env=env, capture_output=True, text=True, timeout=120, check=False)


def test_it_has_less_than_60_lines_and_passes_its_gate(project: Path) -> None:
    assert len([line for line in block("python").splitlines() if line.strip()]) < 60
    done = run(project)
    assert done.returncode == 0, done.stderr
    assert re.search(r"accuracy", done.stdout)


def test_an_untrained_probe_fails_the_gate(project: Path) -> None:
    done = run(project, "training.max_steps=1", "training.learning_rate=1e-9")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "min_accuracy" in done.stdout


def test_mistakes_are_one_line_with_a_place(project: Path) -> None:
    assert re.search(r"probe\.droput: unknown key; did you mean 'dropout'\?", run(project, "probe.droput=0.1").stderr)
    file = project / "data" / "train.jsonl"
    file.write_text(file.read_text().replace('"language"', '"langage"', 1))
    done = run(project)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith(
        "data/train.jsonl:1: expected a field 'language'; did you mean 'langage'?"
    )
