"""A few of the faults of the scripts; ``benchmarks/verify_scripts.py`` goes through all of them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from migrate.verify.cases import plain_case
from migrate.verify.compare import compare
from migrate.verify.trace.reader import Trace
from migrate.verify.verdict import Outcome
from tests.verify.scripts.catalogue import FAULTS, REFACTORINGS, Injected
from tests.verify.scripts.running import record

SAMPLE = {
    "gan": ["d_grads_kept", "g_first"],
    "denoiser": ["ema_wrong_way", "no_unscale"],
    "contrastive": ["pointer_stuck", "keep_last"],
    "sharpness": ["lbfgs_no_l2"],
}
ALIKE = [("gan", "workers"), ("contrastive", "wrapped"), ("denoiser", "ema_by_formula")]


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trace]:
    folder = tmp_path_factory.mktemp("clean")
    return {script: record(script, folder / f"{script}.trace") for script in SAMPLE}


@pytest.mark.parametrize(
    "fault",
    [one for one in FAULTS if one.name in SAMPLE.get(one.script, ())],
    ids=lambda one: f"{one.script} {one.name}",
)
def test_a_fault_is_found_where_it_begins(fault: Injected, clean: dict[str, Trace], tmp_path: Path) -> None:
    at = fault.begins[1] - (fault.begins[1] - fault.begins[0]) // 2
    candidate = record(fault.script, tmp_path / "run.trace", "--fault", fault.name, "--at", str(at))
    first = compare(clean[fault.script], candidate, plain_case()).first
    assert first is not None
    assert fault.expects(at, first.step, first.phase) == (True, True), str(first)


@pytest.mark.parametrize(("script", "name"), ALIKE)
def test_a_refactoring_gives_no_alarm(script: str, name: str, clean: dict[str, Trace], tmp_path: Path) -> None:
    names = REFACTORINGS[script, name]
    verdict = compare(clean[script], record(script, tmp_path / "run.trace", "--same", name), plain_case(names=names))
    assert verdict.outcome is Outcome.IDENTICAL, verdict.reasons


def test_no_fault_has_the_name_of_another() -> None:
    assert max(Counter((one.script, one.name) for one in FAULTS).values()) == 1
