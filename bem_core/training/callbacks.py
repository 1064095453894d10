"""What watches a run: the files of its metrics, a progress bar, a profiler. Callbacks never change what is trained."""

from __future__ import annotations

import csv
import io
import json
import logging
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from bem_core.utils.device import peak_memory_bytes

if TYPE_CHECKING:
    from bem_core.training.base_trainer import BaseTrainer
    from bem_core.training.step import Outcome

_log = logging.getLogger(__name__)
Record = Mapping[str, Any]


class Callback:
    """Base of callbacks; each method does nothing unless it is overridden."""

    def on_train_begin(self, trainer: BaseTrainer) -> None:
        """Run before the first step, after a checkpoint was loaded."""

    def on_step_end(self, trainer: BaseTrainer, outcome: Outcome) -> None:
        """Run after each step. Reading a loss here makes the host wait for the device."""

    def on_log(self, trainer: BaseTrainer, record: Record) -> None:
        """Run for each line of the log: means of the losses, learning rates, norm of the gradients."""

    def on_evaluate(self, trainer: BaseTrainer, record: Record) -> None:
        """Run after each evaluation."""

    def on_save(self, trainer: BaseTrainer, path: Path) -> None:
        """Run after a checkpoint was handed to the disk."""

    def on_train_end(self, trainer: BaseTrainer) -> None:
        """Run at the end of training, after errors and interruptions too."""

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint must hold so that a resumed run goes on exactly."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over the state of a checkpoint."""


@contextmanager
def running(callbacks: Sequence[Callback], trainer: BaseTrainer) -> Iterator[None]:
    """Begin callbacks, and end in any case each one that has begun, even where another one fails."""
    with ExitStack() as ends:
        for callback in callbacks:
            callback.on_train_begin(trainer)
            ends.callback(callback.on_train_end, trainer)
        yield


def _plain(record: Record) -> dict[str, Any]:
    """Return a record as JSON knows it; a number that is not finite becomes null."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in record.items()
    }


class MetricsFile(Callback):
    """Appends records to ``metrics.jsonl``, and writes ``metrics.csv`` from it when training ends.

    It has nothing that depends on the clock, and a resumed run first cuts it back to where its checkpoint was, so that
    it ends up with the same bytes as that of a run that was never stopped.

    Args:
        folder: Where the files are.
        formats: ``jsonl`` and ``csv``.
    """

    def __init__(self, folder: Path, formats: list[str]) -> None:
        # A table cannot be continued, because a name may be new, so its records are kept too.
        self.path = folder / ("metrics.jsonl" if "jsonl" in formats else ".metrics.jsonl")
        self._csv = folder / "metrics.csv" if "csv" in formats else None
        self._length = 0
        self._file: io.BufferedWriter | None = None

    def on_train_begin(self, trainer: BaseTrainer) -> None:
        """Open the file, cut to the length that the state says."""
        self.path.touch()
        found = self.path.stat().st_size
        if found < self._length:
            _log.warning("%s: lacks %d bytes of records from before the checkpoint", self.path, self._length - found)
            self._length = found
        os.truncate(self.path, self._length)
        self._file = self.path.open("ab")

    def on_log(self, trainer: BaseTrainer, record: Record) -> None:
        """Append a record."""
        assert self._file is not None
        line = json.dumps(_plain(record), ensure_ascii=False).encode() + b"\n"
        self._file.write(line)
        self._file.flush()
        self._length += len(line)

    on_evaluate = on_log

    def on_train_end(self, trainer: BaseTrainer) -> None:
        """Close the file and write the table."""
        if self._file is None:
            return
        self._file.close()
        self._file = None
        if self._csv is not None:
            write_table(self.path, self._csv)

    def state(self) -> dict[str, Any]:
        """Return the length of the file, once its bytes are on the disk."""
        if self._file is not None:
            os.fsync(self._file.fileno())
        return {"length": self._length}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over the length of the file."""
        self._length = state["length"]


def write_table(records: Path, table: Path) -> None:
    """Write a table with a column for each name that occurs in a file of JSON Lines."""
    rows = [json.loads(line) for line in records.read_text(encoding="utf-8").splitlines()]
    names = list(dict.fromkeys(name for row in rows for name in row))
    temporary = table.with_name(f".{table.name}.tmp")
    with temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    temporary.replace(table)


class Timing(Callback):
    """Appends speed and memory to ``timing.jsonl`` with each line of the log.

    Args:
        folder: Where the file is.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "timing.jsonl"
        self._last = (0.0, 0, 0)

    def on_train_begin(self, trainer: BaseTrainer) -> None:
        """Start the clock."""
        self._last = (time.perf_counter(), trainer.progress.step, trainer.samples_seen)

    def on_log(self, trainer: BaseTrainer, record: Record) -> None:
        """Append what was done since the last line, a second at a time."""
        now = (time.perf_counter(), trainer.progress.step, trainer.samples_seen)
        seconds = max(now[0] - self._last[0], 1e-9)
        line = {
            "step": trainer.progress.step,
            "elapsed_s": round(trainer.elapsed_s(), 3),
            "steps_per_s": round((now[1] - self._last[1]) / seconds, 3),
            "samples_per_s": round((now[2] - self._last[2]) / seconds, 3),
            "peak_memory_bytes": peak_memory_bytes(trainer.device),
        }
        self._last = now
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


class LogLines(Callback):
    """Writes a line to the log for each record."""

    def on_log(self, trainer: BaseTrainer, record: Record) -> None:
        """Write the record."""
        _log.info("%s", "  ".join(f"{name} {_short(value)}" for name, value in record.items()))

    on_evaluate = on_log

    def on_save(self, trainer: BaseTrainer, path: Path) -> None:
        """Write where the checkpoint is."""
        _log.info("checkpoint %s", path)


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


class ProgressBar(Callback):
    """A bar with the time that is left, the speed and the last loss; on a terminal only.

    Args:
        total: Steps of the run; None where it has no end that is known.
    """

    def __init__(self, total: int | None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[speed]}{task.fields[loss]}"),
            console=Console(stderr=True),
            refresh_per_second=4,
        )
        self._task = self._progress.add_task("training", total=total, speed="", loss="")
        self._began = (0.0, 0)
        self._next = 0.0

    def on_train_begin(self, trainer: BaseTrainer) -> None:
        """Show the bar."""
        self._began = (time.monotonic(), trainer.progress.step)
        self._progress.start()

    def on_step_end(self, trainer: BaseTrainer, outcome: Outcome) -> None:
        """Move the bar, a few times a second."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + 0.25
            speed = (trainer.progress.step - self._began[1]) / max(now - self._began[0], 1e-9)
            self._progress.update(self._task, completed=trainer.counted(), speed=f"{speed:.1f} steps/s")

    def on_log(self, trainer: BaseTrainer, record: Record) -> None:
        """Show the loss."""
        if isinstance(record.get("loss"), float):
            self._progress.update(self._task, loss=f"  loss {record['loss']:.4g}")

    def on_train_end(self, trainer: BaseTrainer) -> None:
        """Leave the bar as it is."""
        self._progress.update(self._task, completed=trainer.counted())
        self._progress.stop()


class Profiler(Callback):
    """Records some steps with `torch.profiler`, for ``chrome://tracing`` and Perfetto.

    Args:
        folder: Where ``profile.json`` and the table ``profile.txt`` go.
        steps: Steps to record, after ten that warm up; fewer where the run is too short for that.
        total: Steps of the run; None where it has no end that is known.
    """

    _WARMUP = 10

    def __init__(self, folder: Path, steps: int, total: int | None = None) -> None:
        kinds = [torch.profiler.ProfilerActivity.CPU]
        if torch.cuda.is_available():
            kinds.append(torch.profiler.ProfilerActivity.CUDA)
        warmup = self._WARMUP if total is None else max(1, min(self._WARMUP, total - steps))
        schedule = torch.profiler.schedule(wait=0, warmup=warmup, active=steps, repeat=1)
        self._folder = folder
        self._profile = torch.profiler.profile(activities=kinds, schedule=schedule, on_trace_ready=self._write)

    def on_train_begin(self, trainer: BaseTrainer) -> None:
        """Start."""
        self._profile.start()

    def on_step_end(self, trainer: BaseTrainer, outcome: Outcome) -> None:
        """Count the step."""
        self._profile.step()

    def on_train_end(self, trainer: BaseTrainer) -> None:
        """Stop; what was recorded is written."""
        self._profile.stop()

    def _write(self, profile: Any) -> None:
        profile.export_chrome_trace(str(self._folder / "profile.json"))
        table = profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=30)
        (self._folder / "profile.txt").write_text(table, encoding="utf-8")


def shows_progress() -> bool:
    """Tell whether somebody looks at stderr."""
    return sys.stderr.isatty()
