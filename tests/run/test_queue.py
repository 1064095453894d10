"""The queue with real processes: short programs that leave what a run leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bem_core.config import ExperimentConfig
from bem_core.config.training_config import TrainingConfig
from bem_core.experiments.jobs import ExperimentsError, Job, check_folders, find_experiments, make_jobs
from bem_core.experiments.launchers import LocalLauncher
from bem_core.experiments.queue import Queue, Task, make_tasks
from tests.run.site import ROOT

# Each gets the folder of the run.
ENDS = """import json, sys; from pathlib import Path
Path(sys.argv[1], "results.json").write_text("{}"); print("said much")"""
GATE_FAILS = ENDS + "; sys.exit(1)"
FAILS = """import sys; print("error: no such data"); sys.exit(2)"""
KILLED = """import os; os.kill(os.getpid(), 9)"""
STOPS = """import signal, sys, time
def stop(number, frame):
    print("interrupted: saved"); sys.exit(143)
signal.signal(signal.SIGTERM, stop)
open(sys.argv[1] + "/ready", "w").close()
time.sleep(60)"""


def job(folder: Path, name: str = "a", seed: int = 1, **settings: object) -> Job:
    return Job(name, Path(f"{name}.yml"), seed, (), folder / name / f"seed-{seed}", ExperimentConfig(**settings))  # type: ignore[arg-type]


def run(
    tasks: list[Task], programs: dict[str, str], slots: int = 2, tick: Callable[[], None] = lambda: None
) -> int | None:
    """Run a program for each experiment."""

    def command(one: Job) -> list[str]:
        return [sys.executable, "-c", programs[one.experiment], str(one.folder)]

    return Queue(tasks, LocalLauncher(), command, slots, on_tick=tick).run()


def record(one: Job) -> dict[str, object]:
    found: dict[str, object] = json.loads((one.folder / "job.json").read_text())
    return found


CASES = {
    "ends": (ENDS, "finished", ""),
    "gate fails": (GATE_FAILS, "finished", ""),
    "fails": (FAILS, "failed", "error: no such data"),
    "ends without results": ("print(1)", "failed", "exit code 0"),
    "killed": (KILLED, "failed", "ended by signal 9"),
    "stopped from outside": ("import os; os.kill(os.getpid(), 15)", "interrupted", "ended by signal 15"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_becomes_of_a_job(case: str, tmp_path: Path) -> None:
    program, status, message = CASES[case]
    tasks = make_tasks([job(tmp_path)])
    assert run(tasks, {"a": program}) is None
    assert (tasks[0].status, tasks[0].message) == (status, message)
    assert record(tasks[0].job)["status"] == status


def test_only_so_many_run_at_once(tmp_path: Path) -> None:
    tasks = make_tasks([job(tmp_path, seed=seed) for seed in range(5)])
    seen = []
    run(tasks, {"a": "import time; time.sleep(0.15)\n" + ENDS}, 2, lambda: seen.append([one.status for one in tasks]))
    assert max(states.count("running") for states in seen) == 2
    assert {one.status for one in tasks} == {"finished"}


def test_finished_jobs_are_left_out_and_failed_ones_wait_for_a_wish(tmp_path: Path) -> None:
    jobs = [job(tmp_path, "good"), job(tmp_path, "bad")]
    run(make_tasks(jobs), {"good": ENDS, "bad": FAILS})
    again = make_tasks(jobs)
    assert [(one.status, one.message) for one in again] == [("finished", ""), ("failed", "error: no such data")]
    run(again, {})  # There is nothing to start.
    wished = make_tasks(jobs, retry_failed=True)
    run(wished, {"bad": ENDS})
    assert [one.status for one in wished] == ["finished", "finished"]


def test_a_later_failure_is_told_in_its_own_words(tmp_path: Path) -> None:
    one = job(tmp_path)
    run(make_tasks([one]), {"a": FAILS})
    tasks = make_tasks([one], retry_failed=True)
    run(tasks, {"a": KILLED})
    assert tasks[0].message == "ended by signal 9"


def test_a_signal_stops_all_runs_and_leaves_them_to_go_on(tmp_path: Path) -> None:
    tasks = make_tasks([job(tmp_path, seed=seed) for seed in (1, 2, 3)])
    sent: list[bool] = []

    def interrupt() -> None:
        if not sent and len(list(tmp_path.glob("*/*/ready"))) == 2:
            sent.append(True)
            os.kill(os.getpid(), signal.SIGINT)

    assert run(tasks, {"a": STOPS}, 2, interrupt) == 130
    assert [one.status for one in tasks] == ["interrupted", "interrupted", "waiting"]
    assert record(tasks[0].job)["message"] == "interrupted: saved"
    assert [one.job.status() for one in tasks] == ["interrupted", "interrupted", "waiting"]
    again = make_tasks([one.job for one in tasks])
    run(again, {"a": ENDS})
    assert {one.status for one in again} == {"finished"}


def test_a_second_signal_kills_what_does_not_stop(tmp_path: Path) -> None:
    deaf = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "open(sys.argv[1] + '/ready', 'w').close(); time.sleep(60)"
    )
    tasks = make_tasks([job(tmp_path)])
    sent: list[float] = []

    def interrupt() -> None:
        if (tmp_path / "a/seed-1/ready").exists() and (not sent or time.monotonic() - sent[0] > 1.1):
            sent.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(tasks, {"a": deaf}, 1, interrupt)
    assert (tasks[0].status, tasks[0].message) == ("interrupted", "killed")


QUEUE = f"""
import sys; sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from tests.run.test_queue import ENDS, STOPS, job, make_tasks, run
run(make_tasks([job(Path(sys.argv[1]), "done"), job(Path(sys.argv[1]), "long")]), {{"done": ENDS, "long": STOPS}})
"""


def wait_for(path: Path) -> None:
    for _ in range(600):
        if path.exists():
            return
        time.sleep(0.05)
    pytest.fail(f"{path} did not appear")


def test_a_killed_queue_leaves_a_run_that_nobody_starts_twice(tmp_path: Path) -> None:
    queue = subprocess.Popen([sys.executable, "-c", QUEUE, str(tmp_path)])
    done, long = job(tmp_path, "done"), job(tmp_path, "long")
    wait_for(long.folder / "ready")
    wait_for(done.folder / "results.json")
    pid = int(str(record(long)["place"]).split()[1])
    queue.kill()
    queue.wait()
    try:
        tasks = make_tasks([done, long])
        assert [one.status for one in tasks] == ["finished", "waiting"]
        run(tasks, {"long": ENDS})
        assert tasks[1].status == "failed"
        assert "another process is still running this job" in tasks[1].message
    finally:
        os.kill(pid, signal.SIGTERM)
    threading.Event().wait(0.3)
    tasks = make_tasks([done, long])
    run(tasks, {"long": ENDS})
    assert [one.status for one in tasks] == ["finished", "finished"]


def test_each_run_has_gpus_of_its_own(tmp_path: Path) -> None:
    tasks = make_tasks([job(tmp_path, seed=seed) for seed in range(4)])
    program = "import os, sys, time; from pathlib import Path; time.sleep(0.1)\n" + (
        "Path(sys.argv[1], 'results.json').write_text(os.environ['CUDA_VISIBLE_DEVICES'])"
    )
    launcher = LocalLauncher(["0", "1", "5", "GPU-7"], 2)
    Queue(tasks, launcher, lambda one: [sys.executable, "-c", program, str(one.folder)], 2).run()
    given = [(one.job.folder / "results.json").read_text() for one in tasks]
    assert sorted(given) == ["0,1", "0,1", "5,GPU-7", "5,GPU-7"]


# What is to be run.


def experiments(folder: Path, *names: str, text: str = "training: {max_steps: 1}\n") -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_patterns_find_experiments_in_their_order(tmp_path: Path) -> None:
    folder = experiments(tmp_path / "e", "v1_a.yml", "v2_b.yaml", "v2_c.yml", "templates/v2_t.yml", "notes.txt")
    assert list(find_experiments(folder, ["v2_*", "v1_a", "v2_b"])) == ["v2_b", "v2_c", "v1_a"]
    assert list(find_experiments(folder, ["templates/*"])) == ["templates/v2_t"]


NAMES = {
    "mistyped": (["v1_aa"], "no experiment matches 'v1_aa'; did you mean 'v1_a'?"),
    "pattern without a match": (["x*"], "no experiment matches 'x*'; there are v1_a, v2_b"),
    "two of them": (["x*", "y*"], "no experiment matches 'y*'"),
}


@pytest.mark.parametrize("case", NAMES)
def test_wrong_names_are_one_error(case: str, tmp_path: Path) -> None:
    patterns, message = NAMES[case]
    folder = experiments(tmp_path / "e", "v1_a.yml", "v2_b.yml", "templates/t.yml")
    with pytest.raises(ExperimentsError) as caught:
        find_experiments(folder, ["v2_b", *patterns])
    assert message in str(caught.value)


def test_one_name_for_two_files_is_an_error(tmp_path: Path) -> None:
    folder = experiments(tmp_path / "e", "a.yml", "a.yaml")
    with pytest.raises(ExperimentsError, match=r"a: which one of .*a\.yaml, .*a\.yml\?"):
        find_experiments(folder, ["a"])


def test_seeds_are_those_of_the_experiment_unless_given(tmp_path: Path) -> None:
    folder = experiments(tmp_path, "a.yml", text="training: {max_steps: 1, seeds: [3, 4]}\n")
    files = {"a": folder / "a.yml"}
    assert [one.seed for one in make_jobs(files, None, [], tmp_path)] == [3, 4]
    jobs = make_jobs(files, [9, 9], ["training.max_steps=2"], tmp_path)
    assert [(one.seed, one.settings.training.seed, one.settings.training.max_steps) for one in jobs] == [(9, 9, 2)]
    assert jobs[0].command(2)[1:5] == ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]


def test_problems_of_all_experiments_come_at_once(tmp_path: Path) -> None:
    folder = experiments(tmp_path, "a.yml", "b.yml", text="training: {max_step: 1}\n")
    files = {name: folder / f"{name}.yml" for name in ("a", "b")}
    with pytest.raises(ExperimentsError) as caught:
        make_jobs(files, [1, 2], [], tmp_path)
    assert [line.partition(":")[0][-5:] for line in str(caught.value).splitlines()] == ["a.yml", "b.yml"]


def test_results_of_other_settings_are_not_taken(tmp_path: Path) -> None:
    one = job(tmp_path)
    run(make_tasks([one]), {"a": ENDS})
    check_folders([one], resume=True)
    with pytest.raises(ExperimentsError, match="--resume goes on with them"):
        check_folders([one], resume=False)
    with pytest.raises(ExperimentsError, match=r"holds a run of a seed 1 with another training\.max_steps, version\n"):
        check_folders([job(tmp_path, version="2", training=TrainingConfig(max_steps=3))], resume=True)
    (one.folder / "job.json").unlink()
    with pytest.raises(ExperimentsError, match="was not made by a series of experiments"):
        check_folders([one], resume=True)
