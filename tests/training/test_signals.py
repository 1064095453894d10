"""Signals, in processes of their own: the step is finished and saved, and the process ends as it should."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from bem_core.errors import TrainingInterrupted
from bem_core.training.signals import SIGNALS, StopSignals
from tests.training.trainers import Classifier, loaders, options, prepared, trained, weights

ROOT = Path(__file__).resolve().parents[2]
# What a user's script does: the trainer raises, and the script ends with the code that belongs to the signal.
SCRIPT = """
import sys, time
from bem_core.errors import TrainingInterrupted
from tests.training.trainers import Classifier, loaders, options

class Slow(Classifier):
    def _on_step_end(self, losses):
        print(self.progress.step, flush=True)
        time.sleep({sleep} if self.progress.step >= 3 else 0)

trainer = Slow(options(max_steps=100000, save_strategy="no", eval_strategy="no"), sys.argv[1])
trainer.setup_training(*loaders())
try:
    trainer.train()
except TrainingInterrupted as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


def start(folder: Path, script: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a script, and wait until it has done a few steps."""
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(folder), *arguments],
        start_new_session=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    while process.stdout.readline().strip() not in ("3", ""):
        pass
    return process


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGUSR1, 138)], ids=lambda one: str(one)
)
def test_a_signal_lets_the_step_finish_saves_it_and_ends_by_convention(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    process = start(tmp_path, SCRIPT.format(sleep=0.01))
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    trainer, _ = prepared(tmp_path, eval_strategy="no", save_strategy="no", max_steps=100000)
    (entry,) = trainer.checkpoints.entries()
    assert errors.strip().endswith(f"{number.name}: step {entry.step} is saved in {tmp_path}; --resume auto goes on")
    trainer.load_checkpoint(entry.path)
    assert trainer.progress.step == entry.step >= 3


GROUP = """
import sys
from bem_core.errors import TrainingInterrupted
from torch.utils.data import DataLoader
from tests.training.trainers import Classifier, dataset, options

class Loud(Classifier):
    def _on_step_end(self, losses):
        print(self.progress.step, flush=True)

loader = DataLoader(dataset(2000), batch_size=2, num_workers=2, multiprocessing_context="fork")
config = options(max_steps=100000, save_strategy="no", eval_strategy="no", gradient_accumulation_steps=5)
trainer = Loud(config | {"data": {"randomness": sys.argv[2]}}, sys.argv[1])
trainer.setup_training(loader)
try:
    trainer.train()
except TrainingInterrupted as error:
    sys.exit(error.exit_code)
"""


@pytest.mark.parametrize("randomness", ["keyed", "global"])
def test_workers_outlive_a_signal_that_the_whole_job_gets(tmp_path: Path, randomness: str) -> None:
    """Schedulers send it to all processes; torch ends a run at once when a worker is killed."""
    process = start(tmp_path, GROUP, randomness)
    os.killpg(process.pid, signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143, errors
    assert len(list((tmp_path / "checkpoints").iterdir())) == 1


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    process = start(tmp_path, SCRIPT.format(sleep=30))
    process.send_signal(signal.SIGTERM)
    # It is the handler of the first one that lets the second one through; give it a moment to run.
    for _ in range(200):
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(0.1)
            break
        except subprocess.TimeoutExpired:
            continue
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGTERM
    assert not (tmp_path / "checkpoints").exists()


class Signalled(Classifier):
    """Gets a signal at a step, or while it is evaluated."""

    at_step = -1
    at_evaluation = -1

    def _on_step_end(self, losses: Any) -> None:
        if self.progress.step == self.at_step:
            os.kill(os.getpid(), signal.SIGUSR1)

    def _evaluate(self, dataloader: Any) -> dict[str, float]:
        if self.progress.step == self.at_evaluation:
            os.kill(os.getpid(), signal.SIGUSR1)
        return super()._evaluate(dataloader)


def test_handlers_are_put_back_and_a_trainer_can_go_on_in_the_same_process(tmp_path: Path) -> None:
    before = [signal.getsignal(one) for one in SIGNALS]
    trainer, watch = prepared(tmp_path / "stopped", Signalled, max_steps=9)
    trainer.at_step = 3
    with pytest.raises(TrainingInterrupted, match="SIGUSR1: step 3 is saved") as caught:
        trainer.train()
    assert caught.value.exit_code == 138
    assert [signal.getsignal(one) for one in SIGNALS] == before
    assert watch.saved[-1] == 3
    assert trainer.train()["total_steps"] == 9
    whole, _ = trained(tmp_path / "whole", max_steps=9)
    assert weights(trainer.model) == weights(whole.model)
    assert (tmp_path / "stopped" / "metrics.jsonl").read_bytes() == (tmp_path / "whole" / "metrics.jsonl").read_bytes()


def test_a_signal_during_the_last_evaluation_is_not_swallowed(tmp_path: Path) -> None:
    trainer, watch = prepared(tmp_path, Signalled, max_steps=6, eval_steps=6)
    trainer.at_evaluation = 6
    with pytest.raises(TrainingInterrupted, match="SIGUSR1"):
        trainer.train()
    assert (watch.evaluated, watch.saved) == ([6], [5, 6])


def test_a_signal_ends_a_trial_run_that_saves_nothing(tmp_path: Path) -> None:
    trainer, _ = prepared(tmp_path / "run", Signalled, fast_dev_run=5)
    trainer.at_step = 2
    with pytest.raises(TrainingInterrupted, match="stopped after step 2 of a trial run, which saves nothing"):
        trainer.train()
    assert not (tmp_path / "run").exists()


def test_rollouts_are_finished_before_a_signal_ends_the_run(tmp_path: Path) -> None:
    """What an epoch gathered depends on weights that are gone in its middle."""

    class Player(Signalled):
        def _collect_rollout(self, epoch: int) -> Any:
            return list(loaders(12)[0])

    data = (None, loaders()[1])
    trainer, watch = prepared(tmp_path, Player, data=data, batch_source="rollout", max_steps=9, eval_strategy="no")
    trainer.at_step = 4
    with pytest.raises(TrainingInterrupted, match="step 6 is saved"):
        trainer.train()
    assert watch.saved == [6]


def test_training_works_in_a_thread_where_no_handlers_can_be_set(tmp_path: Path) -> None:
    done: list[dict[str, Any]] = []

    def work() -> None:
        trainer = Classifier(options(max_steps=3), tmp_path)
        trainer.setup_training(*loaders())
        done.append(trainer.train())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert done[0]["total_steps"] == 3


def test_a_signal_that_another_process_got_first_is_the_same_request() -> None:
    with StopSignals() as signals:
        signals.take(signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert signals.received is signal.SIGUSR1
