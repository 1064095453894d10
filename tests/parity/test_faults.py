"""Faults in the project's trainings are found where they begin; see ``benchmarks/verify_faults_project.py`` for all."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from migrate.verify.phases import PHASES
from tests.parity.faults import FAULTS
from tests.parity.faults.injecting import each_once
from tests.parity.faults.trainings import TRAININGS
from tests.verify.peers import PEERS

ROOT = Path(__file__).parents[2]


def injected(folder: Path, *options: str) -> list[dict[str, Any]]:
    words = [sys.executable, "-m", "tests.parity.faults.injecting", str(folder), *options]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def misplaced(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the faults that were not found where they begin, and those that change nothing and were found."""
    wrong = []
    for one in results:
        found = one["step"], one["replayed"] or one["found"]
        expected = (None, "") if one["expected"] is None else (one["expected"], one["phase"])
        wrong += [one] if one["failed"] or found != expected else []
    return wrong


def test_the_catalogue_covers_all_phases_and_trainings() -> None:
    assert len(FAULTS) >= 60
    trainings = {"router_bc", "router_pg", "safety", "multimodal", "pt1", "pt2", "pt3", "pt4"}
    for name in trainings:
        assert len([fault for fault in FAULTS if name in fault.trainings]) >= 60
    phases = {fault.phase_in(name) for fault in FAULTS for name in fault.trainings}
    assert phases == set(PHASES)
    assert {name for fault in FAULTS for name in fault.trainings} == set(TRAININGS)


def test_a_sample_of_faults_is_found(tmp_path: Path) -> None:
    results = injected(tmp_path, "--trainings", "router_bc", "--sample", "10", "--identical", "1")
    assert len(results) == 11
    assert not misplaced(results)
    *faulty, clean = results
    assert clean["outcome"] == "identical"
    assert all(one["outcome"] == "different" for one in faulty if one["expected"] is not None)
    assert {peer for one in faulty for peer in one["peers"]} <= set(PEERS)


def test_each_fault_is_put_into_one_training() -> None:
    pairs = each_once(FAULTS, 0)
    assert sorted(fault.name for fault, _ in pairs) == sorted(fault.name for fault in FAULTS)
    assert all(name in fault.trainings for fault, name in pairs)


@pytest.mark.slow
@pytest.mark.parametrize("training", TRAININGS)
def test_faults_are_found_in_each_training(training: str, tmp_path: Path) -> None:
    results = injected(tmp_path, "--each-once", "--trainings", training, "--identical", "1")
    *faulty, clean = results
    assert len(faulty) == sum(name == training for _, name in each_once(FAULTS, 0))
    assert clean["outcome"] == "identical"
    assert not [one for one in faulty if one["failed"] or one["step"] != one["expected"]]
    # The phase is that of the first difference, and a few show late.
    assert len(misplaced(faulty)) <= 1
