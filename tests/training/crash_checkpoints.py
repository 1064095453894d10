"""Child processes that die while they save; run by `test_checkpoint_crash.py` in a process that has no threads.

Usage: python -m tests.training.crash_checkpoints SCENARIO ROOT
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bem_core.errors import CheckpointError
from bem_core.training.checkpoint import CheckpointFolder, load_tree, save_tree

Border = tuple[Any, str]
BORDERS: list[Border] = [(os, "fsync"), (os, "rename"), (os, "replace"), (os, "mkdir"), (os, "unlink"), (os, "rmdir")]


def tree(number: int, size: int = 300) -> dict[str, Any]:
    return {"model": {"w": torch.full((size,), float(number))}, "trainer": {"number": number}}


def content(found: dict[str, Any]) -> int:
    """Return the number that a whole tree was made from."""
    number = int(found["trainer"]["number"])
    assert bool((found["model"]["w"] == number).all())
    return number


def child(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return pid


def die_at(count: int) -> None:
    """Let the process end without any cleaning up at the call number ``count`` that changes the disk.

    Even numbers die before the call and odd ones after it.
    """
    calls = 0

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == count // 2 + 1 and count % 2 == 0:
                os._exit(9)
            try:
                return function(*args, **kwargs)
            finally:
                if calls == count // 2 + 1:
                    os._exit(9)

        return call

    for module, name in BORDERS:
        setattr(module, name, wrap(getattr(module, name)))


def every_crash(root: Path, prepare: Callable[[], None], work: Callable[[], None], check: Callable[[], None]) -> int:
    """Crash ``work`` at each of its calls in turn, and check what a new process finds."""
    for count in range(1000):
        shutil.rmtree(root, ignore_errors=True)
        prepare()

        def crash(count: int = count) -> None:
            die_at(count)
            work()

        _, status = os.waitpid(child(crash), 0)
        check()
        assert os.waitstatus_to_exitcode(status) in (0, 9)
        if status == 0:
            return count
    raise AssertionError


def replace(root: Path) -> None:
    path = root / "c"

    def check() -> None:
        assert content(load_tree(path)) in (1, 2)
        save_tree(root / "other", tree(3))
        assert sorted(one.name for one in root.iterdir()) == ["c", "other"]

    crashes = every_crash(root, lambda: save_tree(path, tree(1)), lambda: save_tree(path, tree(2)), check)
    assert crashes > 20, crashes


def folder(root: Path) -> None:
    def prepare() -> None:
        made = CheckpointFolder(root, keep_last=1, best_mode="max")
        made.save(1, tree(1), metric=1.0)
        made.save(2, tree(2), metric=0.5)

    def work() -> None:
        CheckpointFolder(root, keep_last=1, best_mode="max").save(3, tree(3), metric=2.0)

    def check() -> None:
        found = CheckpointFolder(root, keep_last=1, best_mode="max")
        latest = found.load_latest()
        assert latest is not None
        assert latest[0].step == content(latest[1])
        assert latest[0].step in (2, 3)
        best = found.best()
        assert best is not None
        assert content(load_tree(best.path)) == best.step
        assert best.step in (1, 3)
        found.save(4, tree(4), metric=0.1)
        assert [entry.step for entry in found.entries()] == [3 if best.step == 3 or latest[0].step == 3 else 1, 4]
        assert not [path for path in root.iterdir() if path.name.startswith(".") and path.is_dir()]

    crashes = every_crash(root, prepare, work, check)
    assert crashes > 20, crashes


def kill(root: Path) -> None:
    """Kill a process that saves one checkpoint after the other, over the same name and under new ones."""
    random.seed(int(os.environ.get("SEED", "0")))
    last = 0

    def save_all() -> None:
        made = CheckpointFolder(root, keep_last=2, asynchronous=random.random() < 0.5)
        for number in range(last + 1, 10**6):
            made.save(number, tree(number, 30_000))
            save_tree(root / "same", tree(number, 30_000))

    save_tree(root / "same", tree(0))
    for _ in range(30):
        pid = child(save_all)
        time.sleep(random.uniform(0.005, 0.15))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        found = CheckpointFolder(root).load_latest()
        same = content(load_tree(root / "same"))
        newest = content(found[1]) if found else 0
        assert newest >= last, (newest, last)
        assert same <= newest + 1, (same, newest)
        last = newest
        random.random()
    assert last > 30, last


def full(root: Path) -> None:
    """Fill the disk at different places: no file may be larger than a limit."""
    path = root / "c"
    save_tree(path, tree(1))
    failed = []
    for limit in (0, 10, 100, 1000, 5000, 30_000, 119_000):

        def work(limit: int = limit) -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            for target in (path, root / "new"):
                with pytest.raises(
                    CheckpointError, match=f"^{target}: cannot save the checkpoint: File too large; what"
                ):
                    save_tree(target, tree(2, 30_000))
            assert sorted(one.name for one in root.iterdir()) == ["c"]

        _, status = os.waitpid(child(work), 0)
        failed.append(os.waitstatus_to_exitcode(status))
        assert content(load_tree(path)) == 1
    assert failed == [0] * 7, failed


def in_use(root: Path) -> None:
    """Save while another process is in the middle of saving."""
    reader, writer = os.pipe()

    def slow() -> None:
        fsync = os.fsync

        def wait(descriptor: int) -> None:
            fsync(descriptor)
            os.write(writer, b"x")
            time.sleep(0.3)

        os.fsync = wait
        save_tree(root / "c", tree(1))

    pid = child(slow)
    os.read(reader, 1)
    names = [path.name for path in root.iterdir()]
    assert len(names) == 1, names
    assert names[0].startswith(".c.new-")
    save_tree(root / "other", tree(2))
    assert (root / names[0]).exists()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert [content(load_tree(root / name)) for name in ("c", "other")] == [1, 2]


if __name__ == "__main__":
    torch.set_num_threads(1)
    {"replace": replace, "folder": folder, "kill": kill, "full": full, "in_use": in_use}[sys.argv[1]](Path(sys.argv[2]))
