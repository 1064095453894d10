"""The comparison against known faults and known refactorings, and against traces that are damaged."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from migrate.verify.cases import plain_case
from migrate.verify.compare import compare
from migrate.verify.trace.reader import Trace, TraceError, read_trace
from migrate.verify.verdict import Outcome
from tests.verify.faults import FAULTS, Fault
from tests.verify.refactorings import REFACTORINGS
from tests.verify.toys import TRAININGS, Toy

Clean = dict[str, tuple[Toy, Trace]]


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Clean:
    folder = tmp_path_factory.mktemp("clean")
    found = {}
    for name, kind in TRAININGS.items():
        toy = kind(folder)
        found[name] = toy, toy.record(folder / f"{name}.trace")
    return found


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_found_where_it_begins(fault: Fault, clean: Clean, tmp_path: Path) -> None:
    chance = random.Random(fault.name)
    name, at = chance.choice(fault.trainings), chance.randint(*fault.begins)
    toy, reference = clean[name]
    candidate = fault.make(TRAININGS[name])(tmp_path, at).record(tmp_path / "run.trace")
    verdict = compare(reference, candidate, plain_case())
    assert verdict.outcome is Outcome.DIFFERENT
    assert verdict.first is not None
    assert (verdict.first.step, verdict.first.phase) == (fault.first(toy, at), fault.phase), str(verdict.first)


@pytest.mark.parametrize("name", REFACTORINGS)
def test_a_refactoring_gives_no_alarm(name: str, clean: Clean, tmp_path: Path) -> None:
    make, names = REFACTORINGS[name]
    candidate = make(Toy)(tmp_path).record(tmp_path / "run.trace")
    verdict = compare(clean["classifier"][1], candidate, plain_case(names=names))
    assert verdict.outcome is Outcome.IDENTICAL, verdict.reasons


@pytest.mark.parametrize("name", TRAININGS)
def test_a_run_agrees_with_itself_at_every_level(name: str, tmp_path: Path) -> None:
    for level in ("light", "full", "deep"):
        pair = [TRAININGS[name](tmp_path).record(tmp_path / "run.trace", level=level) for _ in range(2)]
        verdict = compare(pair[0], pair[1], plain_case())
        assert verdict.outcome is Outcome.IDENTICAL, verdict.reasons


def test_damaged_traces_never_agree(tmp_path: Path) -> None:
    class Short(Toy):
        steps = 3
        eval_every = 2

    path = tmp_path / "run.trace"
    reference = Short(tmp_path).record(path, level="light")
    data, chance = path.read_bytes(), random.Random(0)
    assert compare(reference, read_trace(path), plain_case()).outcome is Outcome.IDENTICAL
    outcomes = set()
    for _ in range(1000):
        damaged = bytearray(data)
        if chance.random() < 0.5:
            del damaged[chance.randrange(len(data)) :]
        else:
            damaged[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        try:
            outcomes.add(compare(reference, read_trace(path), plain_case()).outcome)
        except TraceError:
            continue
    assert outcomes == {Outcome.INCONCLUSIVE}
