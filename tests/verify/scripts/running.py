"""Recording the scripts of this folder."""

from __future__ import annotations

import contextlib
import random
import runpy
import sys
from pathlib import Path

import numpy as np

from migrate.verify.trace.reader import Trace, read_trace
from migrate.verify.trace.session import tracing

_FOLDER = Path(__file__).parent


def record(script: str, path: Path, *words: str) -> Trace:
    """Run a script in this process and return its trace.

    Args:
        script: Name of the file.
        path: Of the trace.
        words: Of its command line.
    """
    # A process of its own would start with generators of its own, which not every script seeds.
    random.seed(0)
    np.random.seed(0)
    before = sys.argv
    sys.argv = [script, *words]
    try:
        with tracing(path), contextlib.redirect_stdout(None):
            runpy.run_path(str(_FOLDER / f"{script}.py"), run_name="__main__")
    finally:
        sys.argv = before
    return read_trace(path)
