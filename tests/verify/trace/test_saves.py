"""Checkpoints in a trace: whatever saves them, with what was in them when they were saved."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
import torch.distributed.checkpoint as distributed_checkpoint
from torch import nn

from bem_core.training.checkpoint import CheckpointFolder, load_tree, save_tree
from migrate.verify.cases import plain_case
from migrate.verify.compare import compare
from migrate.verify.trace.reader import Checkpoint, read_trace
from migrate.verify.trace.recording.digests import tensor_digest
from migrate.verify.trace.session import tracing
from migrate.verify.verdict import Outcome

WEIGHTS = {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.ones(2)}


def recorded(folder: Path, training: Callable[[], object], **options: Any) -> list[Checkpoint]:
    with tracing(folder / "run.trace", **options):
        training()
    trace = read_trace(folder / "run.trace")
    assert trace.problem is None
    return trace.checkpoints


def test_pickling_a_tensor_saves_no_checkpoint(tmp_path: Path) -> None:
    assert recorded(tmp_path, lambda: pickle.dumps(WEIGHTS)) == []


def test_the_same_content_is_the_same_record_whatever_saves_it(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    model.load_state_dict(WEIGHTS)

    def training() -> None:
        torch.save(WEIGHTS, tmp_path / "a.pt")
        safetensors.torch.save_file(WEIGHTS, tmp_path / "b.safetensors")
        safetensors.torch.save_model(model, str(tmp_path / "c.safetensors"))
        safetensors.torch.save(WEIGHTS)
        save_tree(tmp_path / "d", WEIGHTS)
        CheckpointFolder(tmp_path / "runs").save(3, WEIGHTS)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
            distributed_checkpoint.save(WEIGHTS, checkpoint_id=tmp_path / "e", no_dist=True)

    found = recorded(tmp_path, training)
    assert [(one.function.rpartition(".")[2], one.file) for one in found] == [
        ("save", "a.pt"),
        ("save_file", "b.safetensors"),
        ("save_model", "c.safetensors"),
        ("save", None),
        ("save_tree", "d"),
        ("save", "step-00000003"),
        ("save", "e"),
    ]
    assert {one.digest for one in found} == {found[0].digest}
    assert found[0].entries == {key: f"tensor:{tensor_digest(value).hex()}" for key, value in WEIGHTS.items()}
    assert load_tree(tmp_path / "d").keys() == WEIGHTS.keys()


def test_arrays_of_numpy(tmp_path: Path) -> None:
    arrays = {"a": np.arange(3.0)}
    (found,) = recorded(tmp_path, lambda: safetensors.numpy.save_file(arrays, tmp_path / "a"))
    (other,) = recorded(tmp_path, lambda: safetensors.numpy.save_file({"a": np.ones(3)}, tmp_path / "a"))
    assert found.entries["a"].startswith("numpy.ndarray:")
    assert found.digest != other.digest


def test_what_fails_to_save_is_no_checkpoint(tmp_path: Path) -> None:
    def training() -> None:
        with pytest.raises(RuntimeError):
            torch.save(WEIGHTS, tmp_path / "none" / "a.pt")
        with pytest.raises(TypeError):
            torch.save()  # type: ignore[call-arg]

    assert recorded(tmp_path, training) == []


def test_a_checkpoint_called_the_best_one(tmp_path: Path) -> None:
    def training() -> None:
        folder = CheckpointFolder(tmp_path / "runs")
        folder.save(1, WEIGHTS, best=True)
        folder.save(2, WEIGHTS, best=False)

    assert [one.best for one in recorded(tmp_path, training)] == [True, False]


class Steps:
    """A training of one weight, to save something in the middle of."""

    def __init__(self) -> None:
        self.model = nn.Linear(1, 1, bias=False)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1.0)

    def take(self) -> None:
        self.optimizer.zero_grad()
        self.model(torch.ones(1, 1)).sum().backward()
        self.optimizer.step()

    def copied(self) -> dict[str, torch.Tensor]:
        return {"weight": self.model.weight.detach().clone()}


def in_a_folder(steps: Steps, path: Path, go: threading.Event) -> Callable[[], object]:
    folder = CheckpointFolder(path, asynchronous=True)
    write = folder._write

    def slow(*args: Any) -> None:
        go.wait(60)
        write(*args)

    folder._write = slow  # type: ignore[method-assign]
    folder.save(1, dict(steps.model.state_dict()))
    return folder.close


def in_a_pool(steps: Steps, path: Path, go: threading.Event) -> Callable[[], object]:
    pool = ThreadPoolExecutor(1)
    state = steps.copied()
    done = pool.submit(lambda: (go.wait(60), torch.save(state, path)))
    return lambda: (done.result(60), pool.shutdown())


def in_a_thread(steps: Steps, path: Path, go: threading.Event) -> Callable[[], object]:
    state = steps.copied()
    thread = threading.Thread(target=lambda: (go.wait(60), torch.save(state, path)))
    thread.start()
    return thread.join


@pytest.mark.parametrize("way", [in_a_folder, in_a_pool, in_a_thread])
def test_what_a_thread_writes_later_is_what_it_was_when_it_was_handed_over(way: Any, tmp_path: Path) -> None:
    """The thread gets to write only after two more steps."""
    states = []

    def training() -> None:
        steps, go = Steps(), threading.Event()
        steps.take()
        states.append(steps.copied()["weight"])
        end = way(steps, tmp_path / "saved", go)
        steps.take()
        steps.take()
        go.set()
        end()

    (found,) = recorded(tmp_path, training)
    assert found.after_step == 1
    assert found.entries == {"weight": f"tensor:{tensor_digest(states[0]).hex()}"}


def test_many_threads_that_save_while_steps_are_taken(tmp_path: Path) -> None:
    """Each checkpoint is there once, with the number of steps at which it was handed over."""

    def training() -> None:
        steps = Steps()
        with ThreadPoolExecutor(8) as pool:
            for number in range(100):
                steps.take()
                pool.submit(torch.save, {"number": number}, tmp_path / f"{number}.pt")

    found = recorded(tmp_path, training, level="light")
    assert sorted((one.after_step, one.entries["number"]) for one in found) == [(n + 1, f"int:{n}") for n in range(100)]
    assert [one.number for one in found] == list(range(100))


def keep(place: str, values: dict[str, Any], *, note: str = "") -> None:
    """Save in a way that nobody knows."""


def test_a_function_that_is_named(tmp_path: Path) -> None:
    named = f"{__name__}:keep:values"
    with tracing(tmp_path / "run.trace", saves=[named]):
        keep("there", WEIGHTS)
        keep("here", values={"a": 1}, note="x")
    trace = read_trace(tmp_path / "run.trace")
    assert [one.file for one in trace.checkpoints] == ["there", "here"]
    assert [list(one.entries) for one in trace.checkpoints] == [["weight", "bias"], ["a"]]
    assert trace.checkpoints[1].function == f"{__name__}.keep"


def train() -> None:
    model = nn.Linear(3, 2)
    model(torch.ones(1, 3)).sum().backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ("keep:value", "keep has no argument 'value', so what it saves is not recorded"),
        ("kept", "kept is not recorded: no such function"),
        ("WEIGHTS", "WEIGHTS is not recorded: a dict"),
    ],
)
def test_a_name_that_is_wrong_is_told_and_compares_to_nothing(named: str, told: str, tmp_path: Path) -> None:
    with tracing(tmp_path / "run.trace", saves=[f"{__name__}:{named}"]):
        train()
        keep("there", WEIGHTS)
    trace = read_trace(tmp_path / "run.trace")
    verdict = compare(trace, trace, plain_case())
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "reference: expected and never seen: save" in verdict.reasons
    assert any(told in text for text in (*verdict.reasons, *verdict.notes))


def test_one_wrong_name_of_two_is_told_too(tmp_path: Path) -> None:
    with tracing(tmp_path / "run.trace", saves=[f"{__name__}:keep:values", f"{__name__}:kept"]):
        train()
        keep("there", WEIGHTS)
    trace = read_trace(tmp_path / "run.trace")
    assert len(trace.checkpoints) == 1
    verdict = compare(trace, trace, plain_case())
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert verdict.reasons[0] == f"reference: {__name__}:kept is not recorded: no such function"


SCRIPT = """
    import torch
    from safetensors.torch import save_file

    def store(name, values):
        pass

    def evaluate(model):
        return {"norm": float(model.weight.norm())}

    class Trainer:
        def judge(self):
            return 0.5

    def main():
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            model(torch.ones(1, 3)).sum().backward()
            optimizer.step()
            evaluate(model)
        Trainer().judge()
        save_file(model.state_dict(), "a.safetensors")
        store("mine", {"weight": model.weight})

    if __name__ == "__main__":
        main()
"""


@pytest.mark.parametrize(
    ("module", "words"), [("__main__", ["train.py"]), ("package.train", ["-m", "package.train"])], ids=["script", "-m"]
)
def test_functions_of_the_program_itself(
    module: str, words: list[str], tmp_path: Path, run_cli: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """The program defines them while it runs; a function of the same name in no module is told."""
    (tmp_path / "package").mkdir()
    for path in (tmp_path / "train.py", tmp_path / "package" / "train.py"):
        path.write_text(dedent(SCRIPT))
    names = [f"{module}:evaluate", f"{module}:Trainer.judge", f"{module}:assess"]
    options = [word for name in names for word in ("--metrics-of", name)]
    options += ["--checkpoints-of", f"{module}:store:values"]
    paths = os.pathsep.join([str(Path(__file__).parents[3]), str(tmp_path)])
    done = run_cli("verify", "trace", "--out", "run.trace", *options, "--", sys.executable, *words, PYTHONPATH=paths)
    assert done.returncode == 0, done.stderr
    assert f"not recorded: {module}:assess: no such function" in done.stderr
    trace = read_trace(tmp_path / "run.trace")
    assert trace.rest is not None
    found = [*trace.steps[1].metrics, *trace.rest.metrics]
    assert [name for name, _ in found] == ["norm", "norm", "judge"]
    assert [(one.file, list(one.entries)) for one in trace.checkpoints] == [
        ("a.safetensors", ["weight", "bias"]),
        ("mine", ["weight"]),
    ]


def test_a_module_that_is_never_imported_is_told(
    tmp_path: Path, run_cli: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    (tmp_path / "train.py").write_text(dedent(SCRIPT))
    paths = str(Path(__file__).parents[3])
    options = ["--out", "run.trace", "--metrics-of", "elsewhere:evaluate"]
    done = run_cli("verify", "trace", *options, "--", sys.executable, "train.py", PYTHONPATH=paths)
    assert "never seen: metric" in done.stderr
    assert "not recorded: elsewhere:evaluate: its module was never imported" in done.stderr
