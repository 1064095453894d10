#!/usr/bin/env python3
"""Can the fast variants be imported, and are their files there?"""

import sys
from pathlib import Path


def check_imports():
    failures = []
    try:
        from bem.controller.stateful import StatefulRouter, StatefulRouterConfig  # hidden by controller.py
    except Exception as e:
        failures.append(f"stateful: {e}")
    try:
        from bem.generator.lowrank_diag import lowrank_plus_diag
    except Exception as e:
        failures.append(f"generator: {e}")
    try:
        from bem.quant.fp8_qat import FakeQuantizer
    except Exception as e:
        failures.append(f"quant: {e}")
    return failures


def check_files():
    sys.path.insert(0, str(Path.cwd()))
    wanted = {
        "bem/controller/stateful.py": "V1",
        "bem/generator/lowrank_diag.py": "V2",
        "bem/quant/fp8_qat.py": "V4",
    }
    return [variant for path, variant in wanted.items() if not Path(path).exists()]


if __name__ == "__main__":
    print(check_imports(), check_files())
    sys.exit(1)
