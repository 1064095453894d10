"""Kill a run, and an undo, before every operation on the file system, and a run with workers at random times.

The kills happen in a process that forks one child for each, so that start-up is paid once: this file run as a program.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from migrate.journal import FOLDER, Change, Journal, JournalError

OPERATIONS = (
    "write",
    "pwrite",
    "fsync",
    "fchown",
    "fchmod",
    "ftruncate",
    "replace",
    "unlink",
    "mkdir",
    "rmdir",
    "sync",
)
NEW = b"new " * 3000
OLD = {f"p{i % 2}/{i}.py": f"old {i} ".encode() * 3000 for i in range(6)}
MANY = {f"p{i % 5}/{i}.py": f"old {i} ".encode() * 500 for i in range(120)}
NO_MIDDLE = 42
# A flush costs nothing there, and up to 10 ms on a busy disk. To a process that is killed it makes no difference.
IN_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
MADE = "made/deep/new.py"


def build(root: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)


def migrate(root: Path) -> None:
    first, *names = OLD
    with Journal(root).start(["bem-migrate", "imports"]) as run:
        writer = run.writer([root])
        writer.replace([Change(str(root / name), OLD[name], NEW) for name in names[:3]])
        writer.replace([Change(str(root / name), OLD[name], NEW) for name in names[3:]])
        writer.replace([Change(str(root / MADE), None, NEW), Change(str(root / first), OLD[first], None)])
        run.finish({"files": 7})


def migrate_with_workers(root: Path) -> None:
    names = list(MANY)
    with Journal(root).start(["bem-migrate", "imports"]) as run:
        writer = run.writer([root])
        for share in (names[:60], names[60:]):
            if os.fork() == 0:
                for start in range(0, 60, 4):
                    changes = [Change(str(root / name), MANY[name], NEW) for name in share[start : start + 4]]
                    if any(outcome.error for outcome in writer.replace(changes)):
                        break
                os._exit(0)
        for _ in range(2):
            os.wait()
        run.finish({})


def die_before(number: int, in_the_middle: bool) -> None:
    """Make this process kill itself before its n-th change of the file system, or half-way through a write."""
    count = itertools.count(1)

    def wrap(function: Callable[..., Any], writes: bool) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            if next(count) == number:
                if in_the_middle and not writes:
                    os._exit(NO_MIDDLE)
                if in_the_middle:
                    function(args[0], args[1][: len(args[1]) // 2], *args[2:])
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return wrapper

    plain_open, counted_open = os.open, wrap(os.open, False)
    for name in OPERATIONS:
        setattr(os, name, wrap(getattr(os, name), name in ("write", "pwrite")))
    os.open = lambda path, flags, *a, **k: (counted_open if flags & os.O_CREAT else plain_open)(path, flags, *a, **k)


def fork(action: Callable[[], object]) -> int:
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        status = 1
        try:
            action()
            status = 0
        finally:
            if status:
                traceback.print_exc()
            os._exit(status)
    with contextlib.suppress(PermissionError, ProcessLookupError):
        os.setpgid(pid, pid)  # in both: whoever comes first, the group exists before anything is sent to it
    return pid


def problems_of(root: Path, files: dict[str, bytes]) -> Iterator[str]:
    """Say what is wrong after a kill: a torn file, or something that undo does not bring back."""
    for name, old in files.items():
        path = root / name
        if path.read_bytes() not in (old, NEW) if path.exists() else name != next(iter(files)):
            yield f"{name} is torn"
    try:
        report = Journal(root).undo()
        if report.state not in ("undone", "nothing"):
            yield f"undo: {report}"
        if Journal(root).undo().state != "nothing":
            yield "a second undo found something to do"
    except JournalError:
        if (root / FOLDER / "runs").exists():
            raise
    left = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    if {name: data for name, data in left.items() if not name.startswith(FOLDER)} != files:
        yield f"not the old tree: {sorted(left)}"
    if any(name.endswith(".tmp") for name in left):
        yield f"temporary files: {sorted(left)}"


def kill_everywhere(
    folder: Path, prepare: Callable[[Path], None], act: Callable[[Path], object]
) -> tuple[int, list[str]]:
    """Repeat an action with a kill before each of its operations until one comes through."""
    problems: list[str] = []
    kills = 0
    for number in itertools.count(1):
        for in_the_middle in (False, True):
            root = folder / f"{number}{in_the_middle}"
            build(root, OLD)
            prepare(root)
            pid = fork(lambda n=number, m=in_the_middle, r=root: (die_before(n, m), act(r)))  # type: ignore[misc]
            status = os.waitpid(pid, 0)[1]
            if os.waitstatus_to_exitcode(status) == NO_MIDDLE:
                continue
            if not os.WIFSIGNALED(status):
                return kills, problems + [f"exit status {status}"] * (status != 0)
            kills += 1
            problems += [f"before operation {number}: {problem}" for problem in problems_of(root, OLD)]
    raise AssertionError


def kill_at_random(folder: Path, only_the_main_process: bool) -> tuple[int, list[str]]:
    """Kill a run with two workers 40 times; where only its main process dies, they go on while undo begins."""
    build(folder / "whole", MANY)
    start = time.perf_counter()
    os.waitpid(fork(lambda: migrate_with_workers(folder / "whole")), 0)
    whole_s = time.perf_counter() - start
    rng = random.Random(2)
    problems = []
    for number in range(40):
        root = folder / str(number)
        build(root, MANY)
        read_end, write_end = os.pipe()
        pid = fork(lambda r=root: migrate_with_workers(r))  # type: ignore[misc]
        os.close(write_end)
        time.sleep(rng.uniform(0, whole_s))
        (os.kill if only_the_main_process else os.killpg)(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        if not only_the_main_process:
            os.read(read_end, 1)  # returns when the last process that has the other end is gone
        problems += [f"kill {number}: {problem}" for problem in problems_of(root, MANY)]
        os.read(read_end, 1)
        os.close(read_end)
        if any((root / name).read_bytes() != old for name, old in MANY.items()):
            problems.append(f"kill {number}: a worker wrote after undo")
    return 40, problems


# With the least number of kills, 205 together.
CASES: dict[str, tuple[int, Callable[[Path], tuple[int, list[str]]]]] = {
    "run": (70, lambda folder: kill_everywhere(folder, lambda root: None, migrate)),
    "undo": (55, lambda folder: kill_everywhere(folder, migrate, lambda root: Journal(root).undo())),
    "run with workers": (40, lambda folder: kill_at_random(folder, only_the_main_process=False)),
    "main process of workers": (40, lambda folder: kill_at_random(folder, only_the_main_process=True)),
}


@pytest.mark.parametrize("case", CASES)
def test_a_kill_leaves_every_file_old_or_new_and_undo_restores_all(case: str) -> None:
    done = subprocess.run([sys.executable, __file__, case], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    kills, problems = json.loads(done.stdout)
    assert problems == []
    assert kills >= CASES[case][0]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as temporary:
        sys.stdout.write(json.dumps(CASES[sys.argv[1]][1](Path(temporary))))
