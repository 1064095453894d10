#!/usr/bin/env python3
"""Which variant lives in which file?"""

from pathlib import Path

CHECKS = [
    ("V1", "bem/controller/stateful.py"),
    ("V2", "bem/generator/lowrank_diag.py"),
]
MESSAGE = "expected bem/controller/stateful.py and bem/generator/lowrank_diag.py in the repository"

if __name__ == "__main__":
    missing = [name for name, path in CHECKS if not Path(path).exists()]
    print(missing and MESSAGE)
