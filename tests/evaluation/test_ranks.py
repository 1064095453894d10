from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bem_core.evaluation.ranks import share
from tests.evaluation import shard
from tests.evaluation.models import Classifier, batches, model

ROOT = Path(__file__).resolve().parents[2]


def run(name: str, store: Path) -> list[subprocess.CompletedProcess[str]]:
    """Evaluate on two ranks at once."""
    command = [sys.executable, "-m", "tests.evaluation.shard", str(store), name]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    ranks = [subprocess.Popen([*command, str(rank)], cwd=ROOT, env=env, **pipes) for rank in range(2)]
    done = []
    for rank in ranks:
        out, err = rank.communicate(timeout=120)
        done.append(subprocess.CompletedProcess(rank.args, rank.returncode, out, err))
    return done


@pytest.mark.parametrize("name", ["uneven", "empty"])
def test_two_ranks_find_exactly_what_one_process_finds(name: str, tmp_path: Path) -> None:
    expected = Classifier(model(), shard.CONFIG).evaluate(batches(5, 7, 2, 4)).to_dict()
    for rank in run(name, tmp_path / "store"):
        assert rank.returncode == 0, rank.stderr
        found = json.loads(rank.stdout)
        for key in ("metrics", "slices", "num_samples", "num_batches"):
            assert found[key] == expected[key], key
        # Each rank leaves its own first batch out.
        assert found["latency"]["num_batches"] == (2 if name == "uneven" else 3)


def test_no_sample_on_any_rank_is_an_error_on_all(tmp_path: Path) -> None:
    for rank in run("nothing", tmp_path / "store"):
        assert rank.returncode == 1
        assert "there is nothing to evaluate" in rank.stderr


@pytest.mark.parametrize(("total", "size"), [(7, 3), (2, 3), (0, 2), (6, 1)])
def test_shares_of_a_cap_are_those_of_samples_dealt_out_in_turn(total: int, size: int) -> None:
    ranks = [number % size for number in range(total)]
    assert [share(total, rank, size) for rank in range(size)] == [ranks.count(rank) for rank in range(size)]
