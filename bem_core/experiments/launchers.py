"""Where runs are started: as processes of this machine."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from bem_core.experiments.jobs import CONSOLE, ExperimentsError, Job

_LOCK = ".lock"


class Run(ABC):
    """A job under way.

    Attributes:
        place: Where it runs, in words.
    """

    place: str

    @abstractmethod
    def poll(self) -> int | None:
        """Return the exit code; None while it runs."""

    @abstractmethod
    def stop(self) -> None:
        """Ask it to save and end."""

    @abstractmethod
    def kill(self) -> None:
        """End it at once."""


class Launcher(ABC):
    """Starts jobs."""

    @abstractmethod
    def start(self, job: Job, command: Sequence[str]) -> Run:
        """Start a job.

        Raises:
            ExperimentsError: It cannot be started, or is running already.
        """

    def attach(self, job: Job) -> Run | None:
        """Return a job that an earlier queue started and that may still be running; None where there is none."""
        return None

    def close(self) -> None:  # noqa: B027 - a hook
        """Give back what it holds."""


class _Process(Run):
    """A process of this machine, with the GPUs that it has for itself."""

    def __init__(self, process: subprocess.Popen[bytes], launcher: LocalLauncher, gpus: Sequence[str]) -> None:
        self._process, self._launcher, self._gpus = process, launcher, gpus
        self.place = f"process {process.pid}" + (f", GPU {','.join(gpus)}" if gpus else "")

    def poll(self) -> int | None:
        code = self._process.poll()
        if code is not None and self._gpus:
            self._launcher.free_gpus += self._gpus
            self._gpus = ()
        return code

    def stop(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        # The whole session: torchrun's workers outlive it otherwise.
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


class LocalLauncher(Launcher):
    """Starts jobs as processes, each in a session of its own, so that Ctrl-C reaches only the queue.

    A job holds a lock on its folder as long as its process lives, also when the queue was killed meanwhile.

    Args:
        gpus: Names of the GPUs to hand out, as ``CUDA_VISIBLE_DEVICES`` has them.
        gpus_per_run: How many a job gets; 0 for no restriction.
        environment: Variables of the jobs besides those of this process.

    Attributes:
        free_gpus: GPUs that no job has.
    """

    def __init__(
        self, gpus: Sequence[str] = (), gpus_per_run: int = 0, environment: Mapping[str, str] | None = None
    ) -> None:
        self.free_gpus = list(gpus)
        self._gpus_per_run = gpus_per_run
        self._environment = {**os.environ, **(environment or {})}

    def start(self, job: Job, command: Sequence[str]) -> Run:
        """Start a job; its output goes to ``console.log``."""
        gpus, self.free_gpus = self.free_gpus[: self._gpus_per_run], self.free_gpus[self._gpus_per_run :]
        environment = self._environment | ({"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else {})
        lock = _lock(job.folder)
        try:
            with (job.folder / CONSOLE).open("ab") as console:
                process = subprocess.Popen(
                    command,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=console,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    pass_fds=[lock],
                )
        finally:
            os.close(lock)
        return _Process(process, self, gpus)


def _lock(folder: Path) -> int:
    """Return an open file that holds the lock on a folder; who inherits it holds the lock too."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise ExperimentsError(f"{folder}: another process is still running this job; wait for it, or end it") from None
    return lock


def visible_gpus() -> list[str]:
    """Return the names of the GPUs that jobs may use, as ``CUDA_VISIBLE_DEVICES`` has them."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name for name in given.split(",") if name]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]
