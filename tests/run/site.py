"""A distribution with a component, as pip would install it, and experiments for it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
TYPE = "tiny"

TRAINER = """
import os, signal, time
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset
from bem_core.training.base_trainer import BaseTrainer


def data(size, seed):
    x = torch.randn(size, 6, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(x, x[:, :3].argmax(1))


class Tiny(BaseTrainer):
    def _setup_model(self):
        return nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Dropout(0.2), nn.Linear(8, 3))

    def _setup_dataloaders(self):
        return DataLoader(data(48, 0), batch_size=4, shuffle=True), DataLoader(data(12, 1), batch_size=4)

    def _forward(self, batch):
        return self.wrapped_model(batch[0])

    def _compute_loss(self, batch, outputs):
        return {"loss": functional.cross_entropy(outputs, batch[1])}

    def _evaluate(self, dataloader):
        right = [(self.model(x).argmax(1) == y).float().mean() for x, y in dataloader]
        losses = [functional.cross_entropy(self.model(x), y) for x, y in dataloader]
        value = float(sum(losses)) / len(losses)
        return {"loss": value, "accuracy": float(sum(right)) / len(right)}

    def _on_step_end(self, losses):
        asked = self.config.components.get("tiny", {})
        time.sleep(asked.get("sleep_s", 0))
        mark = self.output_dir / "stopped-once"
        if self.progress.step == asked.get("stop_at") and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), getattr(signal, asked["signal"]))
        seed = self.config.training.seed
        if self.progress.step == asked.get("fail_at") and asked.get("fail_seed", seed) == seed:
            raise RuntimeError("planted failure")


class Unfinished(BaseTrainer):
    def _setup_model(self):
        return nn.Linear(1, 1)


not_a_trainer = 3
"""
ENTRY_POINTS = f"""[bem_core.components]
{TYPE} = tiny_component:Tiny
unfinished = tiny_component:Unfinished
number = tiny_component:not_a_trainer
lost = tiny_component.gone:Tiny
needy = needs_more:Tiny
"""


def install(folder: Path) -> Path:
    """Lay out the distribution in ``folder`` as in site-packages."""
    package, info = folder / "tiny_component", folder / "tiny_component-1.0.dist-info"
    package.mkdir(parents=True)
    info.mkdir()
    (package / "__init__.py").write_text(TRAINER)
    (folder / "needs_more.py").write_text("import surely_not_installed\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-component\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    return folder


def environment(site: Path) -> dict[str, str]:
    """The environment of a process that sees the distribution, and this checkout before any other one."""
    path = os.pathsep.join([str(site), str(ROOT)])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error::ResourceWarning"}


def experiment(path: Path, training: Mapping[str, Any] | None = None, **sections: Any) -> Path:
    """Write an experiment of the component."""
    defaults = {"max_steps": 8, "learning_rate": 0.01, "logging_steps": 2, "eval_steps": 4, "save_steps": 100}
    data = {"experiment_type": TYPE, "hardware": {"device": "cpu"}, "training": defaults | dict(training or {})}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(data | sections))
    return path


def command(*args: object) -> list[str]:
    """The command line of one run."""
    return [sys.executable, "-m", "bem_core.run", *map(str, args)]


def call(argv: list[str], site: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(argv, cwd=cwd, env=environment(site), capture_output=True, text=True, timeout=120)
