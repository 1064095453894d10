"""The checkpoints of a run in one folder: which is the newest, which the best, which may go."""

from __future__ import annotations

import logging
import math
import re
import string
from collections.abc import Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import torch

from bem_core.errors import CheckpointError
from bem_core.training import checkpoint_staging as staging
from bem_core.training.checkpoint_snapshot import snapshot
from bem_core.training.checkpoint_store import More, load_tree, read_meta, write_parts
from bem_core.training.checkpoint_tree import Part, encode

_log = logging.getLogger(__name__)

Mode = Literal["min", "max"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A checkpoint in its folder.

    Attributes:
        path: Where it is.
        step: Optimizer updates before it.
        serial: How many were saved before it; says what is newest, since a run may go back to an earlier step.
        metric: What it was judged by.
        best: Whether it was the best one when it was saved. This is in the checkpoint and in no file beside it, so that
            there is no moment at which only one of the two is on the disk.
    """

    path: Path
    step: int
    serial: int
    metric: float | None
    best: bool


class CheckpointFolder:
    """Saves checkpoints under one folder, finds them, and deletes those that nobody needs.

    Args:
        root: The folder; made with the first save.
        template: Names of the checkpoints, with the field ``{step}``, such as ``checkpoint_step_{step}``.
        keep_last: How many of the newest stay, besides the best one; None keeps all.
        best_mode: Whether the ``min`` or the ``max`` of the metric is best.
        asynchronous: Whether a thread writes while the caller goes on; the state is copied first, to pinned memory
            where it is on CUDA. The next save, `wait` and `close` wait for the thread and raise what went wrong. The
            end of the process waits for it too; an error is then only in the log.

    Raises:
        CheckpointError: An argument makes no sense.
    """

    def __init__(
        self,
        root: Path | str,
        *,
        template: str = "step-{step:08d}",
        keep_last: int | None = None,
        best_mode: Mode = "min",
        asynchronous: bool = False,
    ) -> None:
        self.root = Path(root)
        self.template = template
        self._pattern = _template_pattern(template)
        if keep_last is not None and keep_last < 1:
            raise CheckpointError(f"keep_last: expected at least 1, or None to keep all, got {keep_last}")
        if best_mode not in ("min", "max"):
            raise CheckpointError(f"best_mode: expected 'min' or 'max', got {best_mode!r}")
        self.keep_last = keep_last
        self.best_mode = best_mode
        self._asynchronous = asynchronous
        self._pool: ThreadPoolExecutor | None = None
        self._pending: Future[None] | None = None

    def __enter__(self) -> Self:
        """Return the folder itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the folder; an error of the last save gives way to one that is under way."""
        try:
            self.close()
        except CheckpointError:
            if error is None:
                raise
            _log.exception("the last checkpoint could not be saved")

    def save(
        self,
        step: int,
        tree: Mapping[str, Any],
        metric: float | None = None,
        best: bool | None = None,
        more: More | None = None,
    ) -> Path:
        """Save a checkpoint and delete those that are not kept.

        Args:
            step: Optimizer updates so far.
            tree: Parts, as `checkpoint_store.save_tree` takes them.
            metric: What it is judged by; NaN is never best.
            best: Whether it is the best one so far; by default its metric decides. Without both, a checkpoint that
                replaces one of the same step takes over what that one had.
            more: Writes further files, as `checkpoint_store.write_parts` takes it.

        Returns:
            Where the checkpoint is, or will be.

        Raises:
            CheckpointError: It, or the one before it, cannot be saved.
        """
        self.wait()
        path, parts = self.root / self.template.format(step=step), encode(tree)
        metric = None if metric is None else float(metric)
        if not self._asynchronous:
            self._write(path, parts, step, metric, best, more)
        else:
            self._pool = self._pool or ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
            self._pending = self._pool.submit(self._write, path, snapshot(parts), step, metric, best, more)
            self._pending.add_done_callback(_log_failure)
        return path

    def _write(
        self, path: Path, parts: list[Part], step: int, metric: float | None, best: bool | None, more: More | None
    ) -> None:
        entries = self.entries()
        replaced = next((entry for entry in entries if entry.path == path), None)
        if metric is None and best is None and replaced is not None:
            metric, best = replaced.metric, replaced.best
        if best is None:
            best = metric is not None and self._is_better(metric, self._best_of(entries))
        serial = max((entry.serial for entry in entries), default=-1) + 1
        write_parts(path, parts, {"step": step, "serial": serial, "metric": metric, "best": best}, more)
        self._prune()

    def _is_better(self, metric: float, than: Entry | None) -> bool:
        if math.isnan(metric) or than is None or than.metric is None or math.isnan(than.metric):
            return not math.isnan(metric)
        return metric < than.metric if self.best_mode == "min" else metric > than.metric

    def _prune(self) -> None:
        if self.keep_last is None:
            return
        entries = self.entries()
        best = self._best_of(entries)
        for entry in entries[: -self.keep_last]:
            if entry != best:
                staging.remove(entry.path)

    def names(self) -> list[str]:
        """Return the names of all checkpoints, damaged ones too."""
        found = self.root.iterdir() if self.root.is_dir() else ()
        return sorted(path.name for path in found if self._pattern.fullmatch(path.name) and path.is_dir())

    def entries(self) -> list[Entry]:
        """Return the complete checkpoints, the newest last; their tensors are not read."""
        found, _ = self._look()
        return found

    def _look(self) -> tuple[list[Entry], list[str]]:
        """Return the complete checkpoints, and what is wrong with the others."""
        found, problems = [], []
        if self.root.is_dir():
            staging.bring_back(self.root)
            for path in sorted(self.root.iterdir()):
                if self._pattern.fullmatch(path.name) and path.is_dir():
                    try:
                        found.append(_entry(path))
                    except CheckpointError as error:
                        problems.append(str(error))
        return sorted(found, key=lambda entry: (entry.serial, entry.step)), problems

    def latest(self) -> Entry | None:
        """Return the newest checkpoint that is whole in every byte; a warning in the log says why others are not.

        All of it is read for that: `load_latest` gives the content with it.
        """
        found = self.load_latest()
        return found[0] if found else None

    def load_latest(
        self, map_location: torch.device | str = "cpu", parts: Collection[str] | None = None, *, shards: bool = True
    ) -> tuple[Entry, dict[str, Any]] | None:
        """Load the newest checkpoint that is whole, as `latest` finds it and `load_tree` reads it."""
        self.wait()
        entries, problems = self._look()
        for problem in problems:
            _log.warning("checkpoint skipped: %s", problem)
        for entry in reversed(entries):
            try:
                return entry, load_tree(entry.path, map_location, parts, shards=shards)
            except CheckpointError as error:
                _log.warning("checkpoint skipped: %s", error)
        return None

    def best(self) -> Entry | None:
        """Return the checkpoint that was last called best."""
        return self._best_of(self.entries())

    def _best_of(self, entries: list[Entry]) -> Entry | None:
        return next((entry for entry in reversed(entries) if entry.best), None)

    def wait(self) -> None:
        """Wait until the last save is on the disk.

        Raises:
            CheckpointError: It failed.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def close(self) -> None:
        """Do what `wait` does, and end the thread; the next save begins another one."""
        try:
            self.wait()
        finally:
            pool, self._pool = self._pool, None
            if pool is not None:
                pool.shutdown()


def _entry(path: Path) -> Entry:
    meta = read_meta(path)
    try:
        return Entry(path, meta["step"], meta["serial"], meta["metric"], meta["best"])
    except KeyError as error:
        raise CheckpointError(f"{path}: its manifest does not say {error}") from None


def _log_failure(done: Future[None]) -> None:
    if error := done.exception():
        _log.error("checkpoint not saved: %s", error)


def _template_pattern(template: str) -> re.Pattern[str]:
    try:
        pieces = list(string.Formatter().parse(template))
        example = template.format(step=7)
    except (ValueError, KeyError, IndexError):
        pieces, example = [], "/"
    fields = [field for _, field, _, _ in pieces if field is not None]
    if fields != ["step"] or "/" in example or example.startswith("."):
        raise CheckpointError(f"checkpoint names: expected a name with one field {{step}}, got {template!r}")
    return re.compile("".join(re.escape(text) + ("" if field is None else r"\d+") for text, field, _, _ in pieces))
