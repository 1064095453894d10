"""What runs left in their folders: results and curves."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bem_core.experiments.jobs import FINISHED, RESULTS, ExperimentsError
from bem_core.experiments.queue import Task

METRICS = "metrics.jsonl"
_PLACE = ("step", "epoch")
Curve = list[tuple[int, float]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run came to.

    Attributes:
        experiment: Its name.
        seed: Its seed.
        status: A word of `jobs`.
        message: Why it failed.
        folder: Of the run.
        metrics: Of the last evaluation; empty where it is not finished.
        measured: Time, memory and size.
        training: Steps, seconds, why it ended.
        gates: Quality gates and budget, as ``results.json`` has them.
        curves: What was logged over the steps, by name.
    """

    experiment: str
    seed: int
    status: str
    message: str = ""
    folder: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    measured: Mapping[str, float] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    gates: Mapping[str, Any] = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)


def read_outcomes(tasks: Iterable[Task]) -> list[Outcome]:
    """Return what the runs of tasks came to.

    Raises:
        ExperimentsError: What a run wrote cannot be read.
    """
    return [_read(task) for task in tasks]


def _read(task: Task) -> Outcome:
    job = task.job
    place = (job.experiment, job.seed, task.status, task.message, str(job.folder))
    if task.status != FINISHED:
        return Outcome(*place)
    # Here, because torch comes with it, and the queue reads no results before its end.
    from bem_core.evaluation.result import numbers

    path = job.folder / RESULTS
    try:
        found = numbers(json.loads(path.read_text(encoding="utf-8")))
        parts = {name: found[name] for name in ("metrics", "measured", "training", "gates")}
    except (OSError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise ExperimentsError(f"{path}: is not what a run writes: {error}") from error
    return Outcome(*place, **parts, curves=read_curves(job.folder))


def read_curves(folder: Path) -> dict[str, Curve]:
    """Return what ``metrics.jsonl`` holds: for each name, steps and values; what is no number is left out."""
    curves: dict[str, Curve] = {}
    for record in read_records(folder):
        for name, value in record.items():
            if name not in _PLACE and isinstance(value, float):
                curves.setdefault(name, []).append((record["step"], value))
    return curves


def read_records(folder: Path, last_bytes: int | None = None) -> list[dict[str, Any]]:
    """Return the records of ``metrics.jsonl``; a last line that is being written is left out.

    Args:
        folder: Of the run.
        last_bytes: Only what is whole in so many bytes at the end.
    """
    try:
        with (folder / METRICS).open("rb") as file:
            if last_bytes is not None:
                file.seek(max(file.seek(0, os.SEEK_END) - last_bytes, 0))
                if file.tell():
                    file.readline()
            lines = file.read().splitlines(keepends=True)
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines if line.endswith(b"\n")]
