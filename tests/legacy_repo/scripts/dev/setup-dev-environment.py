#!/usr/bin/env python3
"""Prepare a machine for development."""

import subprocess
import sys
from pathlib import Path

SMOKE_TEST = '''
def test_import():
    import bem_core
    from src.bem2.router import AgenticRouter

    assert bem_core.__version__
'''


def main():
    Path("tests/test_smoke.py").write_text(SMOKE_TEST)
    return subprocess.call([sys.executable, "-c", "import bem_core; print(bem_core.__version__)"])


if __name__ == "__main__":
    sys.exit(main())
