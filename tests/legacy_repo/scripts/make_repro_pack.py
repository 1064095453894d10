#!/usr/bin/env python3
"""Collect what is needed to reproduce a result."""

import shutil
from pathlib import Path

CORE_FILES = [
    "bem/core.py",
    "bem/modules/governance.py",
    "scripts/train_experiment.py",
]

INSTRUCTIONS = """Reproduce:
1. pip install -r requirements.txt
2. read bem/core.py for the update rule
3. python scripts/train_experiment.py --config experiments/v1_dynrank.yml
"""


def main(target: Path = Path("repro_pack")):
    target.mkdir(exist_ok=True)
    for name in CORE_FILES:
        if Path(name).exists():
            shutil.copy(name, target)
    (target / "INSTRUCTIONS.txt").write_text(INSTRUCTIONS)


if __name__ == "__main__":
    main()
