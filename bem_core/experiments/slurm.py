"""Runs on a SLURM cluster, through submitit."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bem_core.experiments.jobs import CONSOLE, ExperimentsError, Job
from bem_core.experiments.launchers import Launcher, Run
from bem_core.utils.extras import import_extra

# After scancel, SLURM kills what is left of a job within KillWait, 30 seconds by default.
_GONE_AFTER_S = 60.0
_HOURS = 24


class RunCommand:
    """What SLURM executes: the command of a job, which is stopped cleanly before the time limit and queued again.

    Args:
        command: The command line.
        console: File for its output.
        environment: Variables that it needs besides those of the cluster's node.
    """

    def __init__(self, command: Sequence[str], console: Path, environment: Mapping[str, str]) -> None:
        self._command, self._console, self._environment = list(command), console, dict(environment)
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> int:
        """Run the command; return its exit code."""
        with self._console.open("ab") as console:
            environment = {**os.environ, **self._environment}
            self._process = subprocess.Popen(
                self._command,
                env=environment,
                stdout=console,
                stderr=subprocess.STDOUT,
                preexec_fn=_ignore_notice,
            )
        try:
            return self._process.wait()
        except KeyboardInterrupt:
            self._process.terminate()
            return self._process.wait()

    def checkpoint(self) -> Any:
        """Save and end, at the time limit or when something more urgent comes; submitit submits the result again."""
        submitit = import_extra("submitit", "slurm", "--launcher slurm")
        if self._process is not None:
            self._process.terminate()
            # Not `wait`: this is a handler of a signal that came in the middle of the other `wait`, which has a lock.
            with suppress(ChildProcessError):
                os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        return submitit.helpers.DelayedSubmission(RunCommand(self._command, self._console, self._environment))


def _ignore_notice() -> None:
    """Let the run not hear what announces the time limit: SLURM sends it to all processes, and it would end it."""
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)


class _Submitted(Run):
    def __init__(self, job: Any, cluster: str) -> None:
        self._job = job
        self._stopped_at: float | None = None
        self.place = f"{cluster} job {job.job_id}"

    def poll(self) -> int | None:
        if self._job.done():
            return self._code()
        gone = self._stopped_at is not None and time.monotonic() - self._stopped_at > _GONE_AFTER_S
        return 143 if gone else None

    def _code(self) -> int:
        submitit = import_extra("submitit", "slurm", "--launcher slurm")
        try:
            return int(self._job.result())
        except (submitit.core.utils.UncompletedJobError, submitit.core.utils.FailedJobError):
            return 143 if self._stopped_at is not None else 1

    def stop(self) -> None:
        self._job.cancel()
        self._stopped_at = time.monotonic()

    def kill(self) -> None:
        self._job.cancel()


class SlurmLauncher(Launcher):
    """Submits jobs, one of SLURM's for each.

    Args:
        folder: For the files of submitit; the nodes must see it, and the folders of the runs.
        processes: Of a run, on one node.
        gpus_per_run: GPUs of a run.
        cluster: ``slurm``; ``local`` runs the same on this machine, to try it out.
        options: Parameters of submitit's executor, such as ``slurm_partition`` or ``timeout_min``.

    Raises:
        ExperimentsError: SLURM is not there, or there is no such option.
    """

    def __init__(
        self,
        folder: Path,
        processes: int = 1,
        gpus_per_run: int = 0,
        cluster: str = "slurm",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self._submitit = import_extra("submitit", "slurm", "--launcher slurm")
        self._cluster, self._folder = cluster, folder
        chosen = {"name": "bem", "tasks_per_node": 1, "cpus_per_task": processes, "timeout_min": _HOURS * 60}
        chosen |= {"gpus_per_node": gpus_per_run} if gpus_per_run else {}
        try:
            self._executor = self._submitit.AutoExecutor(folder=folder, cluster=cluster)
            self._executor.update_parameters(**chosen | dict(options or {}))
        except (RuntimeError, NameError, TypeError, ValueError) as error:
            raise ExperimentsError(f"--launcher slurm: {_first_line(error)}") from error

    def start(self, job: Job, command: Sequence[str]) -> Run:
        """Submit a job; its output goes to ``console.log``."""
        job.folder.mkdir(parents=True, exist_ok=True)
        path = {"PYTHONPATH": os.environ["PYTHONPATH"]} if "PYTHONPATH" in os.environ else {}
        work = RunCommand(command, (job.folder / CONSOLE).resolve(), path)
        try:
            submitted = self._executor.submit(work)
        except self._submitit.core.utils.FailedJobError as error:
            raise ExperimentsError(f"{job.name}: cannot be submitted: {_first_line(error)}") from error
        return _Submitted(submitted, self._cluster)

    def attach(self, job: Job) -> Run | None:
        """Return a job that an earlier queue submitted, which goes on whatever became of that queue."""
        cluster, _, number = job.read_record().get("place", "").partition(" job ")
        if not number or cluster != self._cluster or cluster != "slurm":
            return None
        return _Submitted(self._submitit.SlurmJob(folder=self._folder, job_id=number), cluster)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
