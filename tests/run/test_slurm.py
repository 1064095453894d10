"""What SLURM executes: ended by its signals, it saves first and can be submitted again."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from bem_core.experiments.slurm import RunCommand
from tests.run.site import ROOT

# Saves when asked to, and is done at the second try.
WORK = """import signal, sys, time; from pathlib import Path
saved = Path(sys.argv[1])
if saved.exists():
    sys.exit(7)
def save(number, frame):
    saved.touch(); print("saved"); sys.exit(143)
signal.signal(signal.SIGTERM, save)
print("ready", flush=True)
time.sleep(60)
"""

# As submitit does it: the handler asks for what is submitted again, and the job ends there.
NODE = f"""
import os, pickle, signal, sys, threading, time
sys.path.insert(0, {str(ROOT)!r})
command = pickle.load(open(sys.argv[1], "rb"))
def preempt(number, frame):
    again = command.checkpoint()
    pickle.dump(again.function, open(sys.argv[1], "wb"))
    sys.exit(0)
signal.signal(signal.SIGUSR2, preempt)
def tell():
    while "ready" not in open(sys.argv[2]).read():
        time.sleep(0.05)
    SEND
open(sys.argv[2], "a").close()
threading.Thread(target=tell).start()
print(command())
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A pickled command, and its console."""
    console = tmp_path / "console.log"
    command = RunCommand([sys.executable, "-c", WORK, str(tmp_path / "saved")], console, {})
    (tmp_path / "command.pkl").write_bytes(pickle.dumps(command))
    return tmp_path / "command.pkl", console


def node(send: str, files: tuple[Path, Path]) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-c", NODE.replace("SEND", send), *map(str, files)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=30, start_new_session=True)


def test_before_the_time_limit_a_run_saves_and_is_submitted_again(files: tuple[Path, Path]) -> None:
    done = node("os.killpg(0, signal.SIGUSR2)", files)  # All processes of a job get it.
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert files[1].read_text().splitlines() == ["ready", "saved"]
    again: RunCommand = pickle.loads(files[0].read_bytes())
    assert again() == 7


def test_a_cancelled_run_saves_and_tells_its_exit_code(files: tuple[Path, Path]) -> None:
    done = node("os.kill(os.getpid(), signal.SIGINT)", files)
    assert (done.returncode, done.stdout) == (0, "143\n"), done.stderr
    assert files[1].read_text().splitlines() == ["ready", "saved"]
