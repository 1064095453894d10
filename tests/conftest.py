"""Set-up that all tests share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# A deadline in milliseconds fails on a busy machine, whatever the code does.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")

# Threads that wait for each other on a busy machine make small tensors a hundred times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Each changes what a command prints, in this process and in those that tests start.
for name in ("COLUMNS", "FORCE_COLOR", "GITHUB_ACTIONS", "NO_COLOR"):
    os.environ.pop(name, None)


@pytest.fixture(autouse=True)
def default_kernels() -> Iterator[None]:
    """Take back the choice of kernels: an experiment that asks for deterministic ones asks for all of its process."""
    yield
    torch = sys.modules.get("torch")
    if torch and torch.are_deterministic_algorithms_enabled():
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.deterministic = False


@pytest.fixture
def run_cli(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``bem-migrate`` in a process of its own, in `tmp_path` unless `cwd` says otherwise."""

    def run(*args: str, cwd: Path = tmp_path, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "migrate.cli", *args],
            cwd=cwd,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run
