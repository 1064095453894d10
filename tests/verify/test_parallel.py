"""Cases that run at the same time: their order, and that nothing is left when they are stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from migrate.verify.case_files import load_case
from migrate.verify.cases import Case, Side
from migrate.verify.parallel import run_cases
from migrate.verify.verdict import Outcome

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
from pathlib import Path
from migrate.verify.cases import Case, Side
from migrate.verify.parallel import run_cases

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    side = Side(command=["sh", "-c", f"echo $$ > {folder}/$$.pid; exec sleep 300"])
    cases = [Case(name=str(number), reference=side, candidate=side, folder=folder) for number in range(5)]
    list(run_cases(cases, folder, jobs=2))
"""


def until(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def alive(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{number}/stat")
    return not (state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopping_ends_all_sides_and_begins_no_other_case(number: signal.Signals, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, program, tmp_path], env=environment, stderr=subprocess.DEVNULL)
    assert until(lambda: len([*tmp_path.glob("*.pid")]) == 2)
    process.send_signal(number)
    assert process.wait(60) != 0
    sides = [int(file.stem) for file in tmp_path.glob("*.pid")]
    assert until(lambda: not any(map(alive, sides)))
    assert len([*tmp_path.glob("*.pid")]) == 2


def test_verdicts_come_in_the_order_of_the_cases(tmp_path: Path) -> None:
    commands = {"slow": ["sh", "-c", "sleep 1; false"], "quick": ["false"], "next": ["false"]}
    cases = [
        Case(name=name, reference=Side(command=words), candidate=Side(command=["x"]), folder=tmp_path)
        for name, words in commands.items()
    ]
    assert [one.case for one in run_cases(cases, tmp_path, jobs=2)] == [*commands]


EARLIER = """
prepare: [{command: [sh, -c, "echo prepared >> {case}/log; echo data > {shared}/file"]}]
reference: {command: [sh, -c, "echo first >> {case}/log; echo {seed} > {out}/file; exit CODE"]}
candidate: {command: ["false"]}
seeds: [1, 2]
"""
LATER = """
goes_on_from: first.yaml
reference: {command: [sh, -c, "cat {shared}/file {earlier}/file >> {case}/log"]}
candidate: {command: ["false"]}
seeds: SEEDS
"""


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize(
    ("names", "seeds", "expected"),
    [
        (["then", "first"], "[2]", "prepared first prepared first data 2"),
        (["first", "then"], "[2, 3]", "prepared first prepared first data 2 prepared first data 3"),
        (["then"], "[1]", "prepared first data 1"),
    ],
)
def test_a_case_that_goes_on_from_another(
    names: list[str], seeds: str, expected: str, jobs: int, tmp_path: Path
) -> None:
    """The other one runs first, and only once where it is one of the cases that were asked for."""
    (tmp_path / "first.yaml").write_text(EARLIER.replace("CODE", "0"))
    (tmp_path / "then.yaml").write_text(LATER.replace("SEEDS", seeds))
    cases = [load_case(tmp_path / f"{name}.yaml") for name in names]
    shown = [one.case for one in run_cases(cases, tmp_path / "runs", jobs)]
    assert list(dict.fromkeys(shown)) == names
    assert (tmp_path / "log").read_text().split() == expected.split()


def test_the_case_that_another_goes_on_from_fails(tmp_path: Path) -> None:
    (tmp_path / "first.yaml").write_text(EARLIER.replace("CODE", "3"))
    (tmp_path / "then.yaml").write_text(LATER.replace("SEEDS", "[1]"))
    cases = [load_case(tmp_path / f"{name}.yaml") for name in ("first", "then")]
    *_, last = run_cases(cases, tmp_path / "runs")
    assert last.outcome is Outcome.INCONCLUSIVE
    assert last.reasons == ("first, from which it goes on: reference: ended with exit code 3",)
