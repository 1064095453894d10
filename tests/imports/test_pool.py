"""Several processes: a file that brings one down is named, and the others are done all the same."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from migrate import moves_file
from migrate.imports import pool
from migrate.imports.tree import Tree
from migrate.imports.worker import FileResult, Job
from migrate.imports.worker import handle as really_handle
from migrate.sources import SourceFile


def handle_or_die(job: Job, files: Sequence[tuple[str, str]]) -> list[FileResult]:
    if any("deadly" in path for path, _ in files):
        os.kill(os.getpid(), signal.SIGKILL)
    return really_handle(job, files)


def test_a_file_that_kills_its_process_is_an_error_for_itself_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = []
    for number in range(200):
        path = tmp_path / f"{'deadly' if number == 77 else 'm'}{number}.py"
        path.write_text("from old import x\n" + "# filler\n" * 300)
        files.append(SourceFile(str(path), "py", path.stat().st_size))
    job = Job(moves_file.parse("{old: new}", "moves.yaml"), Tree([tmp_path]), mode="check")
    seen: list[int] = []
    monkeypatch.setattr(pool, "handle", handle_or_die)
    results = list(pool.run(job, files, 2, seen.append))
    assert {result.path for result in results} == {file.path for file in files}
    (failed,) = [result for result in results if result.error]
    assert "deadly" in failed.path
    assert sum(bool(result.references) for result in results) == len(files) - 1
    assert sum(seen) == len(files)


def test_batches_cover_every_file_once_and_begin_with_the_largest() -> None:
    files = [SourceFile(f"f{number}", "py", (number * 7919) % 300_000) for number in range(500)]
    batches = pool.batches(files)
    paths = [path for batch in batches for path, _ in batch]
    assert sorted(paths) == sorted(file.path for file in files)
    assert paths[0] == max(files, key=lambda file: file.size).path
