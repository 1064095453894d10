"""When a signal counts as the same request, and when as one more."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

from tests.run.site import ROOT

PROGRAM = f"""
import sys; sys.path.insert(0, {str(ROOT)!r})
import time
from bem_core.training.signals import StopSignals
with StopSignals() as signals:
    print("ready", flush=True)
    while True:
        time.sleep(0.01)
        if signals.received:
            print(signals.received.name, signals.exit_code, flush=True)
            time.sleep(60)
"""


def test_only_a_later_signal_ends_the_process() -> None:
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "SIGTERM 143\n"
        process.send_signal(signal.SIGINT)
        if time.monotonic() - began < 0.9:  # Else this machine is too busy to tell.
            time.sleep(0.05)
            assert process.poll() is None
        time.sleep(1.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == -signal.SIGTERM
    finally:
        process.kill()
        process.stdout.close()
