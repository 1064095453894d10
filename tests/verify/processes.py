"""Whether a process has ended."""

from __future__ import annotations

import time
from pathlib import Path


def assert_ended(state: Path) -> None:
    """Wait for the end of a process that was sent a signal; on a busy machine it takes a while to arrive.

    Args:
        state: Its file ``stat`` of the system.
    """
    limit = time.monotonic() + 20
    while is_running(state) and time.monotonic() < limit:
        time.sleep(0.01)
    assert not is_running(state)


def is_running(state: Path) -> bool:
    """Tell whether a process is there, and no zombie."""
    try:
        return state.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
