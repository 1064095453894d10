"""The queue: starts jobs while there is room, notes what becomes of them, and stops them when it is asked to."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bem_core.experiments.jobs import (
    CONSOLE,
    FAILED,
    FINISHED,
    INTERRUPTED,
    RESULTS,
    RUNNING,
    WAITING,
    ExperimentsError,
    Job,
)
from bem_core.experiments.launchers import Launcher, Run
from bem_core.training.signals import SIGNALS, StopSignals

_POLL_S = 0.1
# Exit codes of a run that was stopped and can go on; a process that the signal itself ended has it as a negative one.
_STOPPED = {128 + number for number in SIGNALS} | {-number for number in SIGNALS}
_SAID = re.compile(r"^(?:error|internal error|interrupted): .*", re.MULTILINE)


@dataclass(slots=True)
class Task:
    """A job and how it stands with it.

    Attributes:
        status: One of the words of `jobs`.
        message: Why it failed, or where it runs.
        began: Clock at its start in this queue; 0 for not started.
        seconds: How long it ran in this queue.
        run: Itself, while it runs.
        heard: Bytes of its output that are of earlier attempts.
    """

    job: Job
    status: str = WAITING
    message: str = ""
    began: float = 0.0
    seconds: float = 0.0
    run: Run | None = None
    heard: int = 0


def make_tasks(jobs: Sequence[Job], retry_failed: bool = False) -> list[Task]:
    """Return a task for each job; those that are finished stay so, and those that failed unless they are retried."""
    tasks = []
    for job in jobs:
        status = job.status()
        if status == FAILED and not retry_failed:
            tasks.append(Task(job, FAILED, job.read_record().get("message", "")))
        else:
            tasks.append(Task(job, FINISHED if status == FINISHED else WAITING))
    return tasks


class Queue:
    """Runs tasks to their end.

    Args:
        tasks: In their order.
        launcher: Starts them.
        command: The command line of a job.
        slots: How many run at the same time.
        on_change: Called when the status of a task has changed.
        on_tick: Called several times a second.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        launcher: Launcher,
        command: Callable[[Job], list[str]],
        slots: int,
        on_change: Callable[[Task], None] = lambda _: None,
        on_tick: Callable[[], None] = lambda: None,
    ) -> None:
        self._tasks, self._launcher, self._command = tasks, launcher, command
        self._slots, self._on_change, self._on_tick = slots, on_change, on_tick

    def run(self) -> int | None:
        """Run until nothing is left to start and nothing runs.

        A first SIGINT, SIGTERM or SIGUSR1 asks all runs to save and end, and waits for them; a second one kills them.

        Returns:
            The exit code for the signal that stopped it; None if none did.
        """
        with StopSignals() as signals:
            try:
                self._loop(signals)
            finally:
                for task in self._running():
                    assert task.run is not None
                    task.run.kill()
                    self._end(task, INTERRUPTED, "killed")
                self._launcher.close()
        return signals.exit_code if signals.received else None

    def _running(self) -> list[Task]:
        return [task for task in self._tasks if task.run is not None]

    def _loop(self, signals: StopSignals) -> None:
        stopping = False
        while True:
            if signals.received and not stopping:
                stopping = True
                for task in self._running():
                    assert task.run is not None
                    task.run.stop()
            waiting = [] if stopping else [task for task in self._tasks if task.status == WAITING]
            for task in waiting[: max(self._slots - len(self._running()), 0)]:
                self._start(task)
            for task in self._running():
                self._poll(task, stopping)
            if not self._running() and (stopping or not waiting):
                return
            self._on_tick()
            time.sleep(_POLL_S)

    def _start(self, task: Task) -> None:
        task.began = time.monotonic()
        job = task.job
        console = job.folder / CONSOLE
        task.heard = console.stat().st_size if console.is_file() else 0
        try:
            task.run = self._launcher.attach(job) or self._launcher.start(job, self._command(job))
        except ExperimentsError as error:
            # Not written down: if the job runs elsewhere, its record is that of the other queue.
            task.status, task.message = FAILED, str(error)
        else:
            task.status, task.message = RUNNING, task.run.place
            job.write_record(RUNNING, place=task.run.place, command=self._command(job))
        self._on_change(task)

    def _poll(self, task: Task, stopping: bool) -> None:
        assert task.run is not None
        code = task.run.poll()
        task.seconds = time.monotonic() - task.began
        if code is None:
            return
        if code in (0, 1) and (task.job.folder / RESULTS).is_file():
            self._end(task, FINISHED, "")
        elif stopping or code in _STOPPED:
            self._end(task, INTERRUPTED, last_words(task.job, task.heard) or _code(code))
        else:
            self._end(task, FAILED, last_words(task.job, task.heard) or _code(code))

    def _end(self, task: Task, status: str, message: str) -> None:
        task.run, task.status, task.message = None, status, message
        task.job.write_record(status, message=message, seconds=round(task.seconds, 1))
        self._on_change(task)


def _code(code: int) -> str:
    return f"ended by signal {-code}" if code < 0 else f"exit code {code}"


def last_words(job: Job, since: int = 0) -> str:
    """Return the last error that a run printed after so many bytes; empty where it printed none."""
    try:
        text = (job.folder / CONSOLE).read_bytes()[since:].decode(errors="replace")
    except FileNotFoundError:
        return ""
    found = _SAID.findall(text)
    return found[-1] if found else ""
