"""Recording a block of code in this process, for tests and notebooks."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bem_core import __version__
from bem_core.errors import BemError, nearest
from migrate.verify.trace.recording.fingerprint import start
from migrate.verify.trace.recording.importing import AroundImport, calling
from migrate.verify.trace.recording.installing import installed
from migrate.verify.trace.recording.recorder import Recorder
from migrate.verify.trace.recording.settings import LEVELS, Settings, by_module, watched_modules
from migrate.verify.trace.recording.waking import describe

_active: list[Recorder] = []


class Session:
    """What a block that is recorded can add to its trace.

    Attributes:
        path: The file of this process.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    @property
    def path(self) -> Path:
        """Return the file that this process writes; ranks add to the name that was given."""
        writer = self._recorder.output.writer
        return writer.path if writer is not None else Path(self._recorder.settings.out)

    def metric(self, name: str, value: Any) -> None:
        """Record a number; it belongs to the evaluation that goes on, or to the next step."""
        self._recorder.guarded(self._recorder.metric, name, value)

    def generator(self, name: str, generator: torch.Generator) -> None:
        """Watch a generator from now on."""
        self._recorder.generators.named[name] = generator


@contextmanager
def tracing(
    path: Path | str,
    *,
    level: str = "full",
    steps: tuple[int, int] | None = None,
    states_every: int = 0,
    inject: Path | str | None = None,
    names: Mapping[str, str] | None = None,
    expect: Sequence[str] = (),
    metrics: Sequence[str] = (),
    saves: Sequence[str] = (),
) -> Iterator[Session]:
    """Record the trainings in a block; see docs/trace_format.md for what is recorded.

    What modules have bound with ``from torch... import`` before is replaced there too, and put back at the end. What an
    exception ends is recorded up to it, and not complete.

    Args:
        path: The file, which is replaced; other ranks of a distributed run add ``.rank1`` and so on.
        level: ``light``, ``full`` (digests of each tensor) or ``deep`` (of each module's output and gradient).
        steps: First step and end of what is recorded.
        states_every: Save the full state after each so many steps, in the folder ``PATH.states``.
        inject: Such a folder of another run, whose states are put into this one.
        names: Names in those states, and what the tensors are called here.
        expect: Hooks that must fire, besides ``forward``, ``backward``, ``step``, and those of objects that are made.
        metrics: Functions whose results are metrics, as ``module:qualified.name``.
        saves: Functions that save checkpoints, as ``module:qualified.name``, with ``:argument`` where what they save is
            not the first argument.

    Raises:
        BemError: The level is unknown, another block is being recorded, or the file cannot be written.
    """
    settings = Settings(
        out=str(Path(path).absolute()),
        level=_checked(level),
        window=steps,
        states_every=states_every,
        states=f"{Path(path).absolute()}.states",
        inject=str(inject) if inject is not None else None,
        names=dict(names or {}),
        expect=list(expect),
        metrics=list(metrics),
        saves=list(saves),
        command=sys.argv,
        tool=__version__,
    )
    if not Path(settings.out).parent.is_dir():
        raise BemError(f"{path}: cannot be written: its folder does not exist")
    if _active:
        raise BemError(f"{path}: a trace is being recorded in this process already: {_active[0].settings.out}")
    recorder = Recorder(settings, lambda: start(settings))
    _active.append(recorder)
    try:
        yield from _recorded(recorder)
    finally:
        _active.clear()


def _recorded(recorder: Recorder) -> Iterator[Session]:
    with installed(recorder) as named, _imports_watched() as finder:
        for module in by_module([*recorder.settings.metrics, *recorder.settings.saves]):
            importlib.import_module(module)
        for module in watched_modules(recorder.settings):
            if module in sys.modules:
                named.module_is_there(module)
            else:
                finder.waiting[module] = partial(calling, named.module_is_there, module)
        try:
            yield Session(recorder)
        except BaseException as error:
            recorder.exception = describe(error)
            raise
        finally:
            recorder.close()


@contextmanager
def _imports_watched() -> Iterator[AroundImport]:
    finder = AroundImport()
    sys.meta_path.insert(0, finder)
    try:
        yield finder
    finally:
        sys.meta_path.remove(finder)


def _stop_all() -> None:
    """Record nothing in a forked process: the file is the parent's."""
    for recorder in _active:
        recorder.active = False
        recorder.closed = True


os.register_at_fork(after_in_child=_stop_all)


def _checked(level: str) -> str:
    if level not in LEVELS:
        raise BemError(f"level {level!r}: expected one of {', '.join(LEVELS)}{nearest(level, LEVELS)}")
    return level
