"""Running a command with the tracer in it, and adding to its trace how it ended. Loads without torch."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

from bem_core import __version__
from bem_core.errors import BemError
from migrate.verify.trace.reader import read_records
from migrate.verify.trace.recording.settings import VARIABLE, Settings
from migrate.verify.trace.recording.stream import Writer, seal

_BOOTSTRAP = Path(__file__).parent / "bootstrap"
GRACE_S = 10.0


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended.

    Attributes:
        code: Its exit code; negative: the number of the signal that ended it.
        timed_out: Whether it was stopped because it took too long.
        files: The traces that it wrote, that of rank 0 first.
    """

    code: int
    timed_out: bool
    files: list[Path]

    @property
    def how(self) -> str:
        """Say how a program ended that did not write the end of its trace."""
        if self.timed_out:
            return "the command was stopped: it took too long"
        if self.code < 0:
            return f"the command was ended by {_name_of(-self.code)}"
        if self.code:
            return f"the command ended with exit code {self.code}"
        return "the process ended without ending Python, as `os._exit` does"


def launch(
    command: Sequence[str],
    settings: Settings,
    timeout_s: float | None = None,
    grace_s: float = GRACE_S,
    env: dict[str, str] | None = None,
    **popen: Any,
) -> Ended:
    """Run a command with the tracer in every Python process of it, and finish its traces.

    Traces and states of a run before, under the same name, are removed.

    Args:
        command: Program and arguments.
        settings: What to record; ``launcher``, ``command`` and ``tool`` are filled in here.
        timeout_s: After it the command and what it started get SIGTERM.
        grace_s: And SIGKILL after that.
        env: Environment of the command; that of this process by default.
        popen: More arguments for `subprocess.Popen`, such as ``cwd`` and ``stdout``.

    Raises:
        BemError: The command cannot be started, or the file not be written.
    """
    out = Path(settings.out)
    _prepare(out, settings)
    settings = replace(settings, launcher=os.getpid(), command=list(command), tool=__version__)
    environment = _environment(settings, env if env is not None else dict(os.environ))
    code, timed_out = run_group(
        command, timeout_s, grace_s, leave_nothing=bool(settings.stop_after), env=environment, **popen
    )
    ended = Ended(code, timed_out, written(out))
    for file in ended.files:
        _finish(file, ended)
    return ended


def run_group(
    command: Sequence[str],
    timeout_s: float | None = None,
    grace_s: float = GRACE_S,
    *,
    leave_nothing: bool = False,
    **popen: Any,
) -> tuple[int, bool]:
    """Run a command in a session of its own and wait for it; signals are passed on to it.

    Args:
        command: Program and arguments.
        timeout_s: After it the command and what it started get SIGTERM.
        grace_s: And SIGKILL after that.
        leave_nothing: Also end what it has left behind when it ends by itself.
        popen: More arguments for `subprocess.Popen`.

    Returns:
        Its exit code, and whether it was stopped because it took too long.

    Raises:
        BemError: It cannot be started.
    """
    try:
        process = subprocess.Popen(list(command), start_new_session=True, **popen)
    except OSError as error:
        raise BemError(f"{command[0]}: cannot be run: {error.strerror or error}") from error
    with _passing_on(process):
        timed_out = _wait(process, timeout_s, grace_s)
    if leave_nothing:
        _signal(process, signal.SIGKILL)
    return process.returncode, timed_out


def written(out: Path) -> list[Path]:
    """Return the traces of a run: ``out`` itself, and those of other ranks and processes."""
    others = [one for kind in ("rank", "process") for one in out.parent.glob(f"{_escaped(out.name)}.{kind}[0-9]*")]
    return [one for one in (out, *sorted(others)) if one.exists()]


def _escaped(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _prepare(out: Path, settings: Settings) -> None:
    if not out.parent.is_dir():
        raise BemError(f"{out}: cannot be written: its folder does not exist")
    if out.is_dir():
        raise BemError(f"{out}: a folder: expected a file")
    for old in written(out):
        old.unlink()
    for wanted, folder in ((settings.states_every, settings.states), (settings.values, settings.values)):
        if wanted and Path(folder).is_dir():
            shutil.rmtree(folder)


def _environment(settings: Settings, env: dict[str, str]) -> dict[str, str]:
    path = os.pathsep.join([str(_BOOTSTRAP), *filter(None, [env.get("PYTHONPATH")])])
    return {**env, "PYTHONPATH": path, VARIABLE: settings.dumps()}


@contextmanager
def _passing_on(process: subprocess.Popen[Any]) -> Iterator[None]:
    """Pass signals on to the command, which is in a session of its own so that a timeout reaches all of it."""

    def pass_on(number: int, frame: FrameType | None) -> None:
        _signal(process, number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(process: subprocess.Popen[Any], timeout_s: float | None, grace_s: float) -> bool:
    try:
        process.wait(timeout_s)
        return False
    except subprocess.TimeoutExpired:
        _signal(process, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(grace_s)
    _signal(process, signal.SIGKILL)  # Also what the command has left behind.
    process.wait()
    return True


def _signal(process: subprocess.Popen[Any], number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _finish(file: Path, ended: Ended) -> None:
    """Add the exit code and the seal to a trace that its process has closed; leave any other as it is."""
    raw = read_records(file)
    if raw.problem or not raw.records or raw.records[-1]["kind"] != "footer":
        return
    writer = Writer(file, raw.chain)
    writer.write({"kind": "exit", "code": ended.code, "timed_out": ended.timed_out})
    writer.close()
    seal(file)
