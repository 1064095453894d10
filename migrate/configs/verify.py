"""The proof: every file, read back from its new text with its bases, is what it was, under YAML 1.1 and 1.2.

1.1 is read by the loader itself and 1.2 by ruamel.yaml; nothing of the rewriter is used here. ruamel.yaml takes most of
the time of a run, so processes read the originals while the caller searches. What a file meant is kept as fingerprints:
nobody has to remember its data until there is a new text.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_all_start_methods, get_context
from pathlib import Path
from types import TracebackType

from bem_core.errors import BemError
from migrate.configs.readback import Checker, Claim, Meaning, Mismatch, Texts

_CHUNK = 25
# Below this many files, starting processes costs more than it saves.
_SERIAL = 60


@dataclass(slots=True)
class _Chunk:
    """Some claims with what their files meant, which a process may still be finding out."""

    claims: Sequence[Claim]
    meanings: Sequence[Meaning] | Future[Sequence[Meaning]]

    def pairs(self) -> Iterator[tuple[Claim, Meaning]]:
        found = self.meanings.result() if isinstance(self.meanings, Future) else self.meanings
        return zip(self.claims, found, strict=True)


class Proof:
    """Reads originals in the background, and compares new texts with them. To be used in a ``with`` statement.

    Args:
        root: The repository.
        order: Whether the order of keys counts.
        jobs: Number of processes; 0 for one a core.
        num_files: About how many files there will be: few are read in this process. The others start at once, since
            each begins with a copy of this one's memory.
    """

    def __init__(self, root: Path, order: bool, jobs: int, num_files: int) -> None:
        jobs = jobs or len(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else [0] * 2)
        self._checker = Checker(root, order)
        self._pool = _started(jobs, self._checker) if jobs > 1 and num_files >= _SERIAL else None
        self._chunks: list[_Chunk] = []
        self._checks = 0

    def __enter__(self) -> Proof:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Stop the processes."""
        if self._pool:
            self._pool.shutdown(cancel_futures=True)
        if isinstance(error, BrokenProcessPool):
            raise BemError("a process that reads files back died, perhaps for want of memory; see --jobs") from error

    def read(self, claims: Sequence[Claim]) -> None:
        """Begin to read originals; none of them may be written before `check` is done."""
        for start in range(0, len(claims), _CHUNK):
            some = claims[start : start + _CHUNK]
            meanings = self._pool.submit(_meanings, some) if self._pool else self._checker.meanings(some)
            self._chunks.append(_Chunk(some, meanings))

    def check(self, templates: Mapping[str, str], files: Mapping[str, str], paths: Iterable[str]) -> list[Mismatch]:
        """Compare files with their originals; an empty list is the proof.

        Args:
            templates: New texts of templates, by path.
            files: New texts of the files, by path; those that stay are read from the disk.
            paths: The files to look at, out of those that were read.
        """
        wanted = frozenset(paths)
        self._checks += 1
        texts = Texts(templates, files, self._checks)
        results: list[list[Mismatch] | Future[list[Mismatch]]] = []
        for chunk in self._chunks:
            pairs = [(claim, meaning) for claim, meaning in chunk.pairs() if claim.path in wanted]
            some = texts.only(claim.path for claim, _ in pairs)
            results.append(
                self._pool.submit(_mismatches, some, pairs) if self._pool else self._checker.mismatches(some, pairs)
            )
        return [found for result in results for found in (result.result() if isinstance(result, Future) else result)]


def verify(root: Path, new: Mapping[str, str], claims: Sequence[Claim], order: bool = False) -> list[Mismatch]:
    """Check every claim at once, in this process.

    Args:
        root: The repository.
        new: New texts by path.
        claims: The files.
        order: Whether the order of keys counts.
    """
    with Proof(root, order, 1, len(claims)) as proof:
        proof.read(claims)
        return proof.check(new, {}, [claim.path for claim in claims])


_worker: list[Checker] = []


def _started(jobs: int, checker: Checker) -> ProcessPoolExecutor:
    method = "fork" if "fork" in get_all_start_methods() else None
    pool = ProcessPoolExecutor(jobs, get_context(method), _start, (checker,))
    pool.submit(os.getpid)
    return pool


def _start(checker: Checker) -> None:
    """Prepare a process: garbage collection finds nothing in trees that are freed by reference counts."""
    _worker[:] = [checker]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    gc.disable()


def _meanings(claims: Sequence[Claim]) -> Sequence[Meaning]:
    return _worker[0].meanings(claims)


def _mismatches(texts: Texts, pairs: Sequence[tuple[Claim, Meaning]]) -> list[Mismatch]:
    return _worker[0].mismatches(texts, pairs)
