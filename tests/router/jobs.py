"""Small routers that tests share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from tests.parity.router_task import POLICY

__all__ = ["POLICY", "experiment", "run_legacy"]

torch.set_num_threads(1)
TESTS = Path(__file__).parents[1]


def experiment(method: str, sections: dict[str, Any] | None = None, **training: Any) -> dict[str, Any]:
    """Return an experiment of a small router."""
    own = {"bc": {}, "pg": {"batch_source": "rollout", "scheduler_type": "none"}}[method]
    data: dict[str, Any] = {
        "name": f"router_{method}",
        "experiment_type": "router",
        "training": {"method": method, "save_strategy": "no", "eval_strategy": "no"} | own | training,
        "hardware": {"device": "cpu"},
        "macro_policy": POLICY,
    }
    for name, section in (sections or {}).items():
        data[name] = data.get(name, {}) | section if isinstance(section, dict) else section
    return data


def run_legacy(folder: Path, job: dict[str, Any]) -> dict[str, Any]:
    """Run the old router; return what its trainer returned."""
    folder.mkdir(parents=True, exist_ok=True)
    roots = (TESTS / "legacy_repo" / "src", TESTS / "parity")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, roots)), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-W", "ignore", str(TESTS / "parity" / "legacy_router.py"), str(folder), json.dumps(job)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    results = folder / "results.json"
    found: dict[str, Any] = json.loads(results.read_text()) if results.exists() else {}
    return found
