"""Kill a run over configurations before each write: every file is old or new, and resolves, and undo restores all.

The kills happen in a process that forks one child for each, so that start-up is paid once: this file run as a program.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bem_core.config.merge import typed_equal
from bem_core.config.resolver import Resolver
from bem_core.errors import BemError
from migrate.configs.inputs import Options
from migrate.configs.run import refit, run
from migrate.journal import FOLDER, Journal, JournalError

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.configs.plans import one_template, tree_of, two_levels
from tests.test_kill import die_before, fork

BODY = "".join(f"k{n}: {n}\n" for n in range(8))
FILES = {
    f"{'ab'[n % 2]}{n}.yaml": f"# file {n}\nname: n{n}\n{BODY}g{n % 2}: [{n % 2}]\nh{n % 2}: x\n" for n in range(30)
}


def states(start: Path, options: Options) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Return the files before and after a whole run."""
    old = tree_of(start)
    act(options)
    new = {name: raw for name, raw in tree_of(start).items() if not name.startswith(FOLDER)}
    return old, new


def act(options: Options) -> None:
    """Do a run; where templates are there, start over in another way."""
    if os.path.isdir(options.folder):
        refit(options, two_levels)
    else:
        run(options, one_template)


def options_for(root: Path) -> Options:
    return Options(paths=(str(root),), root=root, jobs=1)


def problems(root: Path, old: dict[str, bytes], new: dict[str, bytes], data: dict[str, object]) -> Iterator[str]:
    """Say what is wrong after a kill."""
    for name, raw in tree_of(root).items():
        if not name.startswith(FOLDER) and not name.endswith(".tmp") and raw not in (old.get(name), new.get(name)):
            yield f"{name} is torn"
    for name, wanted in data.items():
        try:
            if not typed_equal(Resolver(root).resolve(root / name).data, wanted):
                yield f"{name} means something else"
        except BemError as error:
            yield f"{name} does not resolve: {error}"
    try:
        Journal(root).undo()
    except JournalError:
        if (root / FOLDER / "runs").exists():
            raise
    left = {name: raw for name, raw in tree_of(root).items() if not name.startswith(FOLDER)}
    if left != old:
        yield f"not the old tree: {sorted(set(left) ^ set(old))}"


def kill_everywhere(folder: Path) -> tuple[int, list[str]]:
    """Kill a first run, and then a refit, before each of their operations on the file system."""
    fresh, fitted = folder / "fresh", folder / "fitted"
    fresh.mkdir()
    for name, text in FILES.items():
        (fresh / name).write_text(text)
    shutil.copytree(fresh, fitted)
    act(options_for(fitted))
    shutil.rmtree(fitted / FOLDER)
    kills, found = 0, []
    for start in (fresh, fitted):
        whole = folder / "whole"
        shutil.copytree(start, whole)
        data = {name: Resolver(start).resolve(start / name).data for name in FILES}
        old, new = states(whole, options_for(whole))
        shutil.rmtree(whole)
        for number in itertools.count(1):
            root = folder / f"{start.name}{number}"
            shutil.copytree(start, root)
            pid = fork(lambda n=number, r=root: (die_before(n, False), act(options_for(r))))  # type: ignore[misc]
            killed = os.WIFSIGNALED(os.waitpid(pid, 0)[1])
            found += [f"{root.name}: {problem}" for problem in problems(root, old, new, data)]
            shutil.rmtree(root)
            if not killed:
                break
            kills += 1
    return kills, found


def test_a_kill_leaves_every_file_old_or_new_and_resolvable() -> None:
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    kills, found = json.loads(done.stdout)
    assert found == []
    assert kills >= 200


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as temporary:
        sys.stdout.write(json.dumps(kill_everywhere(Path(temporary))))
