#!/usr/bin/env python3
"""First checks after a checkout."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent / "pipeline"))

print(sys.path[-1])
