"""Runs one side with the tracer in it: a pinned environment, a time limit, bounded output. Loads without torch."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bem_core.errors import BemError
from migrate.verify.trace.launch import launch, run_group
from migrate.verify.trace.recording.settings import Settings

_KEPT_BYTES = 1 << 16
_GRACE_S = 5.0
# What decides how fast and in which order sums are computed comes from the case, not from the shell of the caller.
_DROPPED = tuple("ATEN_ CUBLAS_ GOTO_ KMP_ MKL_ NUMEXPR_ OMP_ OPENBLAS_ PYTORCH_ TORCH_ VECLIB_".split())


@dataclass(frozen=True, slots=True)
class Finished:
    """How a side ended.

    Attributes:
        command: What was run.
        exit_code: Negative for the number of a signal.
        seconds: Wall time.
        timed_out: Whether it was stopped at its limit.
        files: The traces it wrote, that of rank 0 first.
        tail: The end of what it printed, both streams as they came.
    """

    command: tuple[str, ...]
    exit_code: int
    seconds: float
    timed_out: bool
    files: tuple[Path, ...]
    tail: str

    @property
    def failure(self) -> str | None:
        """Say how it failed, with the last line that it printed; None if it did not."""
        if self.timed_out:
            return f"did not end within {self.seconds:.0f} s and was stopped"
        if self.exit_code:
            how = f"signal {-self.exit_code}" if self.exit_code < 0 else f"exit code {self.exit_code}"
            last = next((line.strip() for line in reversed(self.tail.splitlines()) if line.strip()), "")
            return f"ended with {how}" + (f": {last[:200]}" if last else "")
        return None if self.files else "trained nothing: no Python process of it imported torch and took a step"


def pinned_environment(threads: int, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment that both sides get: number of threads, seed of hashes, deterministic kernels.

    Args:
        threads: Of OpenMP and of each BLAS.
        more: Variables of a side, which win.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_DROPPED)}
    counts = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    pinned = {
        "PYTHONHASHSEED": "0",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        # Sums of the Intel library depend on how memory happens to be aligned otherwise.
        "MKL_CBWR": "AUTO,STRICT",
        "NVIDIA_TF32_OVERRIDE": "0",
    }
    return {**kept, **counts, **pinned, **(more or {})}


def run_side(
    words: Sequence[str], folder: Path, environment: Mapping[str, str], settings: Settings, timeout_s: float
) -> Finished:
    """Run a command with the tracer and wait for it; at its limit it and what it started are ended.

    Its output is read all the time and forgotten but for the last 64 KiB, so it can fill neither a pipe nor a disk.

    Raises:
        BemError: It cannot be started.
    """
    start = time.monotonic()
    with _output() as (streams, kept):
        ended = launch(words, settings, timeout_s, env=dict(environment), cwd=folder, **streams)
    seconds = time.monotonic() - start
    return Finished(tuple(words), ended.code, seconds, ended.timed_out, tuple(ended.files), _tail(kept))


def run_quietly(
    words: Sequence[str], folder: Path, environment: Mapping[str, str], timeout_s: float
) -> tuple[str | None, str]:
    """Run a command without the tracer and wait for it; at its limit it and what it started are ended.

    Returns:
        How it failed, None if it did not; and the end of what it printed.
    """
    try:
        with _output() as (streams, kept):
            code, timed_out = run_group(words, timeout_s, env=dict(environment), cwd=folder, **streams)
    except BemError as error:
        return str(error), ""
    if timed_out:
        return f"did not end within {timeout_s:g} s and was stopped", _tail(kept)
    return (f"ended with exit code {code}" if code else None), _tail(kept)


@contextmanager
def _output() -> Iterator[tuple[dict[str, Any], bytearray]]:
    """Yield streams for a process, and the end of what it prints, which is complete after the block."""
    read_end, write_end = os.pipe()
    kept = bytearray()
    reader = threading.Thread(target=_drain, args=(read_end, kept), daemon=True)
    reader.start()
    try:
        yield {"stdin": subprocess.DEVNULL, "stdout": write_end, "stderr": subprocess.STDOUT}, kept
    finally:
        os.close(write_end)
        # Something that it left behind may hold the pipe open.
        reader.join(_GRACE_S)


def _tail(kept: bytearray) -> str:
    return bytes(kept[-_KEPT_BYTES:]).decode(errors="replace")


def _drain(descriptor: int, kept: bytearray) -> None:
    with open(descriptor, "rb", buffering=0) as stream:
        while piece := stream.read(1 << 16):
            kept += piece
            if len(kept) > 4 * _KEPT_BYTES:
                del kept[:-_KEPT_BYTES]
