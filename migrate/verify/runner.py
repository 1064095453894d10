"""The sides of a case for one seed, each run in fresh processes."""

from __future__ import annotations

import logging
import shlex
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bem_core.errors import BemError
from migrate.verify.cases import Case, Places, Preparation, Side
from migrate.verify.children import Finished, pinned_environment, run_quietly, run_side
from migrate.verify.trace.reader import Trace, TraceError, read_trace
from migrate.verify.trace.recording.settings import Settings

_log = logging.getLogger(__name__)
_TAIL_LINES = 15


class SideFailed(BemError):
    """One side gave no trace that can be read.

    Attributes:
        notes: The end of what it printed.
    """

    def __init__(self, message: str, notes: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.notes = notes


@dataclass(slots=True)
class Recorded:
    """One run of one side.

    Attributes:
        finished: How it ended.
        traces: By what is added to the name of the file: nothing for rank 0.
        out: Folder of what it wrote itself.
        states: Folder of its states.
        values: Folder of what its modules gave in one step.
    """

    finished: Finished
    traces: dict[str, Trace]
    out: Path
    states: Path
    values: Path

    @property
    def trace(self) -> Trace:
        """Return the trace of rank 0."""
        return self.traces[""]

    def states_of(self, process: str) -> Path:
        """Return the folder of the states of a process."""
        return self.states / process.removeprefix(".")

    def values_of(self, process: str) -> Path:
        """Return the folder of what the modules of a process gave."""
        return self.values / process.removeprefix(".")

    def trace_of(self, process: str) -> Trace:
        """Return the trace of a process, or of rank 0 where there is none of that name."""
        return self.traces.get(process, self.trace)


@dataclass(slots=True)
class Runner:
    """Runs the sides of a case for one seed.

    Attributes:
        case: What is run.
        seed: Fills ``{seed}``.
        folder: Where traces, states and what the sides write go.
        ran: The folder of a runner of the case that this one goes on from, whose reference has run.
    """

    case: Case
    seed: int
    folder: Path
    ran: Path | None = None
    sides: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def shared(self) -> Path:
        """Return the folder that the preparation writes and both sides read."""
        earlier = self._earlier
        return self.folder / "shared" if earlier is None else earlier.shared

    @property
    def _earlier(self) -> Runner | None:
        """Return the runner of the case that this one goes on from."""
        case = self.case.earlier
        return None if case is None else Runner(case, self.seed, self.ran or self.folder / "earlier")

    def _out(self, name: str) -> Path:
        """Return the folder of what a run writes."""
        return self.folder / f"{name}.out"

    def places(self, out: Path, checkpoint: Path | None = None) -> Places:
        """Return what a run reads and writes.

        Args:
            out: The folder that it writes.
            checkpoint: What it goes on from.
        """
        earlier = self._earlier
        before = None if earlier is None else earlier._out("reference")
        return Places(out=out, shared=self.shared, earlier=before, checkpoint=checkpoint)

    def prepare(self) -> None:
        """Run what the case has to be run before both sides, and the reference that it goes on from.

        Raises:
            SideFailed: It failed.
        """
        earlier = self._earlier
        if earlier is not None and self.ran is None:
            try:
                earlier.prepare()
                earlier.run_untraced("reference", earlier.case.reference)
            except SideFailed as error:
                raise SideFailed(f"{earlier.case.name}, from which it goes on: {error}", error.notes) from error
        if self.case.prepare:
            _empty(self.shared)
        for part in self.case.prepare:
            self._prepare(part)

    def _prepare(self, part: Preparation) -> None:
        case = self.case
        words, variables = case.filled(part, self.seed, self.places(self.shared), sys.executable)
        _log.info("%s seed %d: preparation: %s", case.name, self.seed, shlex.join(words))
        environment = pinned_environment(case.threads, variables)
        failure, tail = run_quietly(words, case.folder / part.folder, environment, case.timeout_s)
        _raise_if(failure, "preparation", tail)

    def run_untraced(self, name: str, side: Side) -> Path:
        """Run a side once, without the tracer, and return the folder of what it wrote.

        Raises:
            SideFailed: It failed.
        """
        case = self.case
        out = self._out(name)
        _empty(out)
        words, variables = case.filled(side, self.seed, self.places(out), sys.executable)
        _log.info("%s seed %d: %s: %s", case.name, self.seed, name, shlex.join(words))
        environment = pinned_environment(case.threads, variables)
        start = time.monotonic()
        failure, tail = run_quietly(words, case.folder / side.folder, environment, case.timeout_s)
        self.sides[name] = {"command": shlex.join(words), "seconds": round(time.monotonic() - start, 3)}
        _raise_if(failure, name, tail)
        return out

    def record(self, name: str, side: Side, checkpoint: Path | None = None, **settings: Any) -> Recorded:
        """Run a side once.

        Args:
            name: Of this run; names its files.
            side: What is run.
            checkpoint: What it goes on from.
            **settings: Of the tracer, besides those of the case.

        Raises:
            SideFailed: It wrote no trace.
        """
        case = self.case
        out = self._out(name)
        _empty(out)
        named: dict[str, Any] = {key: list(getattr(side, key)) for key in ("expect", "metrics", "saves")}
        given = {"level": case.level, "determinism": case.determinism, **named, **settings}
        states, values = self.folder / f"{name}.states", self.folder / f"{name}.values"
        places: dict[str, Any] = {"out": str(self.folder / f"{name}.trace"), "states": str(states)}
        if "values_of" in given:
            places["values"] = str(values)
        options = Settings(**places, **given)
        words, variables = case.filled(side, self.seed, self.places(out, checkpoint), sys.executable)
        _log.info("%s seed %d: %s: %s", case.name, self.seed, name, shlex.join(words))
        environment = pinned_environment(case.threads, variables)
        finished = run_side(words, case.folder / side.folder, environment, options, case.timeout_s)
        told = {"command": shlex.join(words), "seconds": round(finished.seconds, 3), "exit_code": finished.exit_code}
        self.sides[name] = {**told, "trace": str(options.out)}
        return Recorded(finished, self._read(name, finished), out, states, values)

    def _read(self, name: str, finished: Finished) -> dict[str, Trace]:
        tail = tuple(finished.tail.splitlines()[-_TAIL_LINES:]) if finished.failure else ()
        notes = ("\n".join([f"the end of what the {name} printed:", *tail]),) if tail else ()
        traces = {}
        try:
            for file in finished.files:
                traces[file.name.partition(".trace")[2]] = read_trace(file)
        except TraceError as error:
            raise SideFailed(f"{name}: {finished.failure or error}", notes) from error
        if "" not in traces:
            raise SideFailed(f"{name}: {finished.failure or 'no trace of rank 0'}", notes)
        return traces


def _empty(folder: Path) -> None:
    """Make a folder that has nothing in it, also where an earlier run has left one."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)


def _raise_if(failure: str | None, name: str, tail: str) -> None:
    if failure:
        lines = "\n".join([f"the end of what the {name} printed:", *tail.splitlines()[-_TAIL_LINES:]])
        raise SideFailed(f"{name}: {failure}", (lines,))
