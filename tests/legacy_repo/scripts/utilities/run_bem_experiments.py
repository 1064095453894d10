#!/usr/bin/env python3
"""Run experiments for several seeds."""

import os
import subprocess
import sys
from pathlib import Path

ROOT_DIR = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT_DIR))

TRAIN = ["python", "-m", "bem2.training.train"]


def run(experiment: str, seed: int) -> int:
    environment = {**os.environ, "PYTHONPATH": str(ROOT_DIR / "src"), "BEM_SEED": str(seed)}
    command = TRAIN + ["--config", f"experiments/{experiment}.yml", "--output-dir", "logs", "--experiment-name", experiment]
    return subprocess.run(command, env=environment).returncode


if __name__ == "__main__":
    sys.exit(max(run(name, 1) for name in sys.argv[1:] or ["v1_dynrank"]))
