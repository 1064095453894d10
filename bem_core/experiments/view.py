"""How a series of experiments looks while it runs: a table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from bem_core.experiments.jobs import FAILED, FINISHED, INTERRUPTED, RUNNING, WAITING
from bem_core.experiments.queue import Task
from bem_core.experiments.results import read_records

_STYLES = {RUNNING: "cyan", FINISHED: "green", FAILED: "red", INTERRUPTED: "yellow"}
_REFRESH_S = 1.0
_TAIL_BYTES = 16_384


class View:
    """Shows tasks on a console.

    Args:
        tasks: All of them.
        console: Where to; a terminal gets a table that changes.
    """

    def __init__(self, tasks: Sequence[Task], console: Console) -> None:
        self._tasks, self._console = tasks, console
        self._live: Live | None = None
        self._next = 0.0

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the table, on a terminal, until the end; it stays there."""
        if not self._console.is_terminal:
            yield
            return
        with Live(self._table(), console=self._console, auto_refresh=False) as self._live:
            yield
            self._live.update(self._table(), refresh=True)
        self._live = None

    def changed(self, task: Task) -> None:
        """Tell that the status of a task has changed."""
        if self._live is not None:
            self._live.update(self._table(), refresh=True)
            return
        told = [time.strftime("%H:%M:%S"), f"{task.job.name}:", task.status]
        if task.status == RUNNING:
            told.append(f"as {task.message}, in {task.job.folder}")
        elif task.message:
            told.append(f"after {task.seconds:.1f} s: {task.message}")
        else:
            told.append(f"after {task.seconds:.1f} s, {_progress(task)}")
        self._console.print(" ".join(told), markup=False, highlight=False, soft_wrap=True)

    def tick(self) -> None:
        """Bring the table up to date, once a second."""
        if self._live is not None and time.monotonic() >= self._next:
            self._next = time.monotonic() + _REFRESH_S
            self._live.update(self._table(), refresh=True)

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in ("experiment", "seed", "status", "time", "progress"):
            table.add_column(name, justify="right" if name in ("seed", "time") else "left", no_wrap=name != "progress")
        shown = self._fitting()
        if len(shown) < len(self._tasks):
            counts = Counter(task.status for task in self._tasks)
            table.caption = ", ".join(f"{number} {status}" for status, number in counts.items())
        for task in shown:
            status = f"[{_STYLES.get(task.status, 'dim')}]{task.status}"
            seconds = f"{task.seconds:.0f} s" if task.began else ""
            told = task.message if task.status in (FAILED, INTERRUPTED) and task.message else _progress(task)
            table.add_row(task.job.experiment, str(task.job.seed), status, seconds, told)
        return table

    def _fitting(self) -> list[Task]:
        """Return the tasks that fit on the screen: those under way and those that need a look go first."""
        order = (RUNNING, FAILED, INTERRUPTED, FINISHED, WAITING)
        room = max(self._console.height - 4, 1)
        first = sorted(self._tasks, key=lambda task: order.index(task.status))[:room]
        return [task for task in self._tasks if any(task is one for one in first)]


def _progress(task: Task) -> str:
    records = read_records(task.job.folder, _TAIL_BYTES)
    if not records:
        return ""
    total = task.job.settings.training.max_steps
    latest: dict[str, Any] = {}
    for record in records:
        latest |= record
    shown = [f"step {latest['step']}" + (f"/{total}" if total else "")]
    names = [name for name in latest if name == "loss" or name.startswith("eval_")]
    return "  ".join([*shown, *(f"{name} {latest[name]:.4g}" for name in names[:4] if latest[name] is not None)])
