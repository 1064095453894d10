"""Spreads batches of files over processes; a file that brings a worker down is named, and the rest go on."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable, Iterator, Sequence

from migrate.imports.worker import FileResult, Job, handle
from migrate.sources import SourceFile

Batch = list[tuple[str, str]]
# Below this many bytes of candidates, starting processes costs more than it saves.
IN_PROCESS_BYTES = 150_000
_BATCH_BYTES = 400_000
_BATCH_FILES = 64

_job: Job | None = None


def batches(files: Sequence[SourceFile]) -> list[Batch]:
    """Cut files into batches of similar cost, the largest first, so that none is left for the end."""
    cut: list[Batch] = []
    size = 0
    for file in sorted(files, key=lambda file: (-file.size, file.path)):
        if not cut or size + file.size > _BATCH_BYTES or len(cut[-1]) >= _BATCH_FILES:
            cut.append([])
            size = 0
        cut[-1].append((file.path, file.kind))
        size += file.size
    return cut


def run(job: Job, files: Sequence[SourceFile], jobs: int, done: Callable[[int], None]) -> Iterator[FileResult]:
    """Handle all files, in this process or in several.

    Args:
        job: What to do.
        files: Candidates.
        jobs: Number of processes.
        done: Told the number of files after each batch.
    """
    pending = batches(files)
    if jobs <= 1 or len(files) < 2 or sum(file.size for file in files) < IN_PROCESS_BYTES:
        for batch in pending:
            yield from handle(job, batch)
            done(len(batch))
        return
    yield from _in_processes(job, pending, min(jobs, len(pending)), done)


def _in_processes(job: Job, pending: list[Batch], jobs: int, done: Callable[[int], None]) -> Iterator[FileResult]:
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from concurrent.futures.process import BrokenProcessPool

    global _job
    _job = job
    method = "fork" if "fork" in multiprocessing.get_all_start_methods() else None
    context = multiprocessing.get_context(method)
    lost: list[Batch] = []
    gc.freeze()
    with ProcessPoolExecutor(jobs, context, _start, (job if method is None else None,)) as pool:
        futures = {pool.submit(_handle, batch): batch for batch in pending}
        try:
            for future in as_completed(futures):
                try:
                    yield from future.result()
                except BrokenProcessPool:
                    lost.append(futures[future])
                    continue
                done(len(futures[future]))
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)  # what is in hand is finished, nothing else is begun
            raise
    for batch in lost:
        for file in batch:
            yield _alone(job, file)
        done(len(batch))


def _start(job: Job | None) -> None:
    """Prepare a worker: garbage collection finds nothing in trees that are freed by reference counts."""
    global _job
    _job = job or _job
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    gc.disable()


def _handle(batch: Batch) -> list[FileResult]:
    assert _job is not None
    return handle(_job, batch)


def _alone(job: Job, file: tuple[str, str]) -> FileResult:
    """Handle a file of a batch whose worker died, in a process that may die as well."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    context = multiprocessing.get_context("fork" if hasattr(os, "fork") else None)
    try:
        with ProcessPoolExecutor(1, context, _start, (job,)) as pool:
            return pool.submit(_handle, [file]).result()[0]
    except BrokenProcessPool:
        return FileResult(file[0], error="the process that read it died; left alone")
