"""Signals that ask a run to end: heard at any time, obeyed at the end of a step."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from torch.utils.data import DataLoader

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
_SAME_S = 1.0


class StopSignals:
    """Remembers the first of SIGTERM, SIGINT and SIGUSR1; a later one does what it does without us.

    What comes within a second of the first is the same request: a terminal and SLURM signal all processes, and
    `torchrun` passes on to its own what it got.

    Outside of the main thread, where no handlers can be set, it hears nothing.

    Attributes:
        received: The signal; None for none.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._received_at = 0.0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignals:
        """Begin to listen; what came before is forgotten."""
        self.received = None
        if threading.current_thread() is threading.main_thread():
            self._before = {one: signal.signal(one, self._hear) for one in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put back the handlers that were there."""
        self._restore()

    def take(self, number: int) -> None:
        """Remember a signal that another process of the run got; this one may get it too, a moment later."""
        if self.received is None:
            self.received, self._received_at = signal.Signals(number), time.monotonic()

    def _hear(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.received is None:
            self.take(number)
        elif now - self._received_at > _SAME_S:
            self._restore()
            signal.raise_signal(number)

    def _restore(self) -> None:
        for one, handler in self._before.items():
            signal.signal(one, signal.SIG_DFL if handler is None else handler)
        self._before = {}

    @property
    def exit_code(self) -> int:
        """What a program that was ended by the signal returns by convention."""
        return 128 + (self.received or 0)


class WorkerInit:
    """A ``worker_init_fn`` with which the workers of a loader outlive a signal that asks the run to end.

    Terminals and schedulers send a signal to all processes of a job. Torch ends a run with an error when one of its
    workers is killed, before the run could save anything; a run that ends tells its workers so itself.

    Args:
        init: What the loader had; None for nothing.
    """

    def __init__(self, init: Callable[[int], None] | None) -> None:
        self._init = init

    def __call__(self, worker_id: int) -> None:
        """Set the handlers, in the worker."""
        for one in SIGNALS:
            signal.signal(one, signal.SIG_DFL)
        StopSignals().__enter__()
        if self._init is not None:
            self._init(worker_id)


def protect_workers(loader: Any) -> None:
    """Let the workers of a loader outlive a signal that asks the run to end; its ``worker_init_fn`` is wrapped."""
    if isinstance(loader, DataLoader) and loader.num_workers and not isinstance(loader.worker_init_fn, WorkerInit):
        loader.worker_init_fn = WorkerInit(loader.worker_init_fn)
