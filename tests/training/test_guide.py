"""The example of the guide runs, and its tables have names that exist."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from bem_core import errors
from bem_core.config.schema import field_types
from bem_core.config.training_config import TrainingConfig
from bem_core.training import guards
from bem_core.training.hooks import Hooks

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return TEXT.partition(f"## {title}\n")[2].partition("\n## ")[0]


def test_the_example_trains_and_goes_on(tmp_path: Path) -> None:
    script = tmp_path / "digits.py"
    script.write_text(TEXT.partition("```python\n")[2].partition("```")[0], encoding="utf-8")
    command = [sys.executable, "-W", "error", str(script), str(tmp_path / "run")]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert re.fullmatch(
            r"285 steps, accuracy 0\.9\d\d at step \d+|285 steps, accuracy 1\.000 at step \d+", done.stdout.strip()
        )
    rows = re.findall(r"^\| `([\w./-]+)`", section("The folder of a run"), re.MULTILINE)
    expected = {"checkpoints", "metrics.jsonl", "metrics.csv", "timing.jsonl", "config.yaml", "sources.json"}
    assert {path.name for path in (tmp_path / "run").iterdir()} == expected | {"environment.json", "run.json"}
    assert {row.partition("/")[0] for row in rows} - {"tensorboard"} <= expected | {"environment.json"}


def test_the_tables_name_what_exists() -> None:
    hooks = re.findall(r"`(_\w+)\(", section("Hooks").partition("What a hook")[0])
    assert hooks
    assert all(hasattr(Hooks, name) for name in hooks)
    assert {name for name in vars(Hooks) if name.startswith("_") and not name.startswith(("__", "_abc"))} <= {
        *hooks,
        *("_setup_model", "_compute_loss", "_evaluate"),
    }
    fields = field_types(TrainingConfig)
    for row in re.findall(r"^\|[^|]+\|([^|]+)\|", section("What training loops differ in"), re.MULTILINE)[2:]:
        assert all(name in fields for name in re.findall(r"`(\w+)`", row)), row
    for name in re.findall(r"^\| `(\w+)`", section("Errors"), re.MULTILINE):
        assert hasattr(errors, name) or hasattr(guards, name)
