"""Several processes train what one does, save what others can load, and end together."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from bem_core.errors import CheckpointError
from bem_core.training.checkpoint import load_tree
from bem_core.utils.digest import digest
from tests.training.rank_job import experiment, run

ROOT = Path(__file__).resolve().parents[2]
STEPS = 12
# Of one process; with more of them, each has a part.
BATCH = 4


def start(world: int, runs: list[dict[str, Any]], folder: Path) -> subprocess.Popen[str]:
    file = folder / f"runs-{world}-{len(list(folder.iterdir()))}.json"
    file.write_text(json.dumps(runs), encoding="utf-8")
    launch = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(world)]
    command = [sys.executable, "-W", "error", "-m", *launch, "-m", "tests.training.rank_job", str(file)]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error"}
    return subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True)


def finish(job: subprocess.Popen[str]) -> tuple[int, str]:
    try:
        _, err = job.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        # The launcher ends the ranks first.
        job.terminate()
        _, err = job.communicate(timeout=60)
        pytest.fail(f"the job does not end: {err}")
    return job.returncode, err


def on(world: int, runs: list[dict[str, Any]], folder: Path) -> None:
    code, err = finish(start(world, runs, folder))
    assert code == 0, err


def spec(
    folder: Path, world: int, parallel: str = "ddp", resume: Path | str | None = None, **more: Any
) -> dict[str, Any]:
    """A run whose ranks together see the batches of one process."""
    shards = "sharded" if more.pop("shards", False) else "full"
    sections: dict[str, Any] = {
        "training": {"batch_size": BATCH // world, **more.pop("training", {})},
        "hardware": {"device": "cpu", "parallel": parallel, **more.pop("hardware", {})},
        "output": {"checkpoint_format": shards},
        "evaluation": {"metrics": ["mean"], **more.pop("evaluation", {})},
    }
    found = {"folder": str(folder), "experiment": experiment(**sections), **more}
    return found | ({"resume": str(resume)} if resume else {})


def checkpoint(folder: Path, step: int = STEPS) -> Path:
    return folder / "checkpoints" / f"step-{step:08d}"


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def assert_same_training(folder: Path, expected: Path) -> None:
    """Parameters, states of the optimizer, losses, norms and metrics are equal up to the order of float64 sums."""
    ours, theirs = load_tree(checkpoint(folder)), load_tree(checkpoint(expected))
    torch.testing.assert_close(ours["model"], theirs["model"], rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(ours["optimizer"]["state"], theirs["optimizer"]["state"], rtol=1e-8, atol=1e-12)
    assert records(folder)[-1]["step"] == STEPS
    known = {(one["step"], "lr" in one): one for one in records(expected)}
    for one in records(folder):
        other = known[one["step"], "lr" in one]
        assert one == pytest.approx(other, rel=1e-9, nan_ok=True)


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the runs that `do_jobs` does; once, however many workers pytest-xdist has."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with (shared / "jobs.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "jobs").exists():
            (shared / "jobs").mkdir()
            do_jobs(shared / "jobs")
    return shared / "jobs"


def do_jobs(root: Path) -> None:
    """Train on one process, on two ranks, on four, on two and on one again."""
    run(spec(root / "one", 1))
    wider = {"params": {"width": 9}}
    two = [
        spec(root / "ddp on 2", 2, evaluation={"sharded": True}),
        spec(root / "fsdp on 2", 2, "fsdp", evaluation={"sharded": True}),
        spec(root / "fsdp on 2, shards", 2, "fsdp", shards=True),
        spec(root / "fsdp, 1 to 2", 2, "fsdp", resume=checkpoint(root / "one", 5)),
        spec(root / "bypass", 2, kind="bypass", fails=True),
        spec(root / "own mean", 2, kind="own mean", fails=True, evaluation={"sharded": True}),
        spec(root / "no checkpoint", 2, "fsdp", resume=root / "nowhere", fails=True),
        *(
            spec(
                root / f"other model, {name}", 2, "fsdp", resume=checkpoint(root / name, 5), fails=True, training=wider
            )
            for name in ("one", "fsdp on 2, shards")
        ),
        spec(root / "full disk", 2, "fsdp", shards=True, kind="full disk", fails=True),
        spec(root / "on the host", 2, "fsdp", hardware={"cpu_offload": True, "gradient_checkpointing": True}),
        spec(root / "capped", 2, "fsdp", evaluation={"sharded": True, "num_eval_samples": 3}),
    ]
    for parallel, shards in (("ddp", False), ("fsdp", True)):
        noisy = {"dropout": 0.3}
        whole, stopped = root / f"{parallel}, whole", root / f"{parallel}, stopped"
        two += [
            spec(whole, 2, parallel, shards=shards, training={"params": noisy}),
            spec(stopped, 2, parallel, shards=shards, training={"params": noisy | {"stop_at": 7}}),
            spec(stopped, 2, parallel, "auto", shards=shards, training={"params": noisy}),
        ]
    on(2, two, root)
    four = [
        spec(root / "ddp on 4", 4),
        spec(root / "fsdp on 4, shards", 4, "fsdp", shards=True),
        spec(root / "ddp, 2 to 4", 4, resume=checkpoint(root / "fsdp on 2", 5)),
        spec(root / "fsdp, shards 2 to 4", 4, "fsdp", checkpoint(root / "fsdp on 2, shards", 5), shards=True),
    ]
    on(4, four, root)
    on(2, [spec(root / "fsdp, shards 4 to 2", 2, "fsdp", checkpoint(root / "fsdp on 4, shards", 5))], root)
    run(spec(root / "shards 4 to 1", 1, resume=checkpoint(root / "fsdp on 4, shards", 5)))
    run(spec(root / "ddp 2 to 1", 1, resume=checkpoint(root / "ddp on 2", 5)))


@pytest.mark.parametrize(
    "name",
    [
        "ddp on 2",
        "fsdp on 2",
        "fsdp on 2, shards",
        "ddp on 4",
        "fsdp on 4, shards",
        "fsdp, 1 to 2",
        "ddp, 2 to 4",
        "fsdp, shards 2 to 4",
        "fsdp, shards 4 to 2",
        "on the host",
        "shards 4 to 1",
        "ddp 2 to 1",
    ],
)
def test_any_number_of_ranks_trains_as_one_process(name: str, jobs: Path) -> None:
    assert_same_training(jobs / name, jobs / "one")


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_a_stopped_run_goes_on_bit_for_bit(parallel: str, jobs: Path) -> None:
    found = []
    for name in ("whole", "stopped"):
        tree = load_tree(checkpoint(jobs / f"{parallel}, {name}"))
        del tree["trainer"]["progress"]["elapsed_s"]
        found.append(
            {part: digest(value) for part, value in tree.items()} | {"records": records(jobs / f"{parallel}, {name}")}
        )
    assert found[0] == found[1]
    # Each rank drew its own dropout.
    states = load_tree(checkpoint(jobs / f"{parallel}, whole"))["rng"]
    assert not torch.equal(states["0"]["torch"], states["1"]["torch"])


def test_a_signal_on_one_rank_stops_all_after_one_step(jobs: Path) -> None:
    steps = sorted(int(path.name.removeprefix("step-")) for path in (jobs / "ddp, stopped" / "checkpoints").iterdir())
    assert steps == [5, 6, 8, 10, 12]


def test_shards_hold_each_tensor_once_and_nothing_pickled(jobs: Path) -> None:
    saved = checkpoint(jobs / "fsdp on 4, shards")
    files = sorted((saved / "shards").iterdir())
    assert [path.name for path in files] == [
        f"shard-{rank:05d}-model-00001-of-00001.safetensors" for rank in (1, 2, 3, 4)
    ]
    found: Counter[str] = Counter()
    for path in files:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - it is no mapping
                found[name] += file.get_tensor(name).numel()
    tree = load_tree(saved)
    expected = {f"model/{name}": value.numel() for name, value in tree["model"].items()}
    for name, state in tree["optimizer"]["state"].items():
        expected |= {f"optimizer/state/{name}/{key}": state[key].numel() for key in ("exp_avg", "exp_avg_sq")}
    assert found == expected


def test_a_rank_that_cannot_save_leaves_the_checkpoints_before(jobs: Path) -> None:
    left = sorted(path.name for path in (jobs / "full disk" / "checkpoints").iterdir())
    assert left == ["step-00000005", "step-00000006"]


def test_ranks_evaluate_no_more_samples_than_asked(jobs: Path) -> None:
    assert {one["eval_count"] for one in records(jobs / "capped") if "eval_count" in one} == {3}


def test_a_damaged_shard_is_found_on_load(jobs: Path, tmp_path: Path) -> None:
    saved = checkpoint(jobs / "fsdp on 2, shards", 5)
    damaged = tmp_path / "damaged"
    for path in saved.rglob("*"):
        if path.is_file():
            target = damaged / path.relative_to(saved)
            target.parent.mkdir(parents=True, exist_ok=True)
            content = bytearray(path.read_bytes())
            if "shard-00002" in path.name:
                content[-1] ^= 1
            target.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"shard-00002.* damaged"):
        load_tree(damaged)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bypass", "did not call self.wrapped_model"),
        ("own mean", "evaluation.sharded: eval_loss is .* on rank 0 and .* on rank 1"),
        ("full disk", "rank 1 cannot save its part of the checkpoint: File too large; what was there is unchanged"),
        ("other model, one", "1 of another shape: unused: \\[8\\], the model has \\[9\\]"),
        ("other model, fsdp on 2, shards", "1 of another shape: unused: \\[8\\], the model has \\[9\\]"),
        ("no checkpoint", "nowhere: there is no such checkpoint"),
    ],
)
def test_mistakes_are_told_on_every_rank(name: str, message: str, jobs: Path) -> None:
    for rank in range(2):
        text = (jobs / name / f"error-{rank}").read_text(encoding="utf-8")
        assert re.search(message, text)


def records_of(folder: Path, *, steps: int) -> None:
    """Wait until a run has done some steps."""
    until = time.monotonic() + 60
    while not (folder / "metrics.jsonl").exists() or len(records(folder)) < steps:
        assert time.monotonic() < until
        time.sleep(0.05)


def ranks_of(job: subprocess.Popen[str]) -> list[int]:
    """Return the process ids of the ranks, in their order."""
    found = {}
    for pid in Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split():
        env = dict(one.split("=", 1) for one in Path(f"/proc/{pid}/environ").read_text().split("\0") if "=" in one)
        if "RANK" in env:
            found[int(env["RANK"])] = int(pid)
    return [found[rank] for rank in sorted(found)]


def endless(folder: Path, **hardware: Any) -> dict[str, Any]:
    training = {"max_steps": 10000, "params": {"pause_s": 0.02}, "save_steps": 10000, "eval_strategy": "no"}
    return spec(folder, 2, training=training, hardware=hardware)


def test_a_killed_rank_ends_the_job_and_is_named(tmp_path: Path) -> None:
    job = start(2, [endless(tmp_path / "run")], tmp_path)
    records_of(tmp_path / "run", steps=3)
    pid = ranks_of(job)[1]
    os.kill(pid, signal.SIGKILL)
    code, err = finish(job)
    assert code != 0
    assert re.search(rf"error: rank 0 cannot go on: rank 1 \(process {pid} on .*\) was killed or crashed", err)
    assert "Traceback" not in err.partition("ChildFailedError")[0].partition("elastic")[0]


def test_sigterm_to_the_job_saves_once_and_all_ranks_exit_143(tmp_path: Path) -> None:
    job = start(2, [endless(tmp_path / "run")], tmp_path)
    records_of(tmp_path / "run", steps=3)
    job.terminate()
    _, err = finish(job)
    (saved,) = (tmp_path / "run" / "checkpoints").iterdir()
    assert load_tree(saved)["trainer"]["progress"]["step"] >= 3
    assert [(tmp_path / "run" / f"exit-{rank}").read_text() for rank in range(2)] == ["143", "143"], err
