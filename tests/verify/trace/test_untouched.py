"""A training that is recorded computes the same bits as one that is not, and nothing stays behind."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from migrate.verify.trace.reader import read_trace
from migrate.verify.trace.recording.hooks_modules import LOSSES
from migrate.verify.trace.session import tracing
from tests.verify.trace.trainings import TRAININGS, Training, same


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@functools.cache
def unrecorded(training: Training) -> dict[str, Any]:
    return training()


@pytest.mark.parametrize("level", ["light", "full", "deep"])
@pytest.mark.parametrize("training", TRAININGS, ids=lambda one: one.__name__)
def test_recorded_or_not(training: Training, level: str, tmp_path: Path) -> None:
    roots = []
    for name in ("one", "two") if level == "full" else ("one",):
        with tracing(tmp_path / name, level=level):
            found = training()
        assert same(found, unrecorded(training))
        trace = read_trace(tmp_path / name)
        assert trace.problem is None
        assert trace.steps
        assert trace.footer is not None
        roots.append(trace.footer["root"])
    assert len(set(roots)) == 1


def everything() -> dict[str, object]:
    """Return what hooks replace."""
    schedulers = {
        f"{name}.step": value.__dict__.get("step")
        for name, value in vars(lr_scheduler).items()
        if isinstance(value, type)
    }
    return {
        "call": nn.Module.__call__,
        "train": nn.Module.train,
        "zero": nn.Module.zero_grad,
        "clip": nn.utils.clip_grad_norm_,
        "save": torch.save,
        "backward": torch.Tensor.backward,
        "uniform": torch.Tensor.uniform_,
        "uniform is inherited": "uniform_" in vars(torch.Tensor),
        "rand": torch.rand,
        "losses": [getattr(nn.functional, name) for name in LOSSES],
        "steps": torch.optim.Optimizer.__dict__["__init__"],
        **schedulers,
    }


def test_nothing_stays_replaced(tmp_path: Path) -> None:
    before = everything()
    with suppress(RuntimeError), tracing(tmp_path / "run.trace", level="deep"):
        assert everything() != before
        raise RuntimeError
    assert everything() == before


def test_signatures_stay(tmp_path: Path) -> None:
    functions = [nn.utils.clip_grad_norm_, torch.save, torch.Tensor.backward, nn.functional.cross_entropy]
    before = [(inspect.signature(one), one.__name__, one.__doc__) for one in functions]
    with tracing(tmp_path / "run.trace"):
        functions = [nn.utils.clip_grad_norm_, torch.save, torch.Tensor.backward, nn.functional.cross_entropy]
        assert [(inspect.signature(one), one.__name__, one.__doc__) for one in functions] == before


def test_recording_keeps_no_model_alive(tmp_path: Path) -> None:
    import gc
    import weakref

    with tracing(tmp_path / "run.trace"):
        model = nn.Linear(2, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        refs = [weakref.ref(model), weakref.ref(optimizer)]
        del model, optimizer
        gc.collect()
        assert [ref() for ref in refs] == [None, None]


def test_a_tensor_can_be_resized_after_it_was_looked_at(tmp_path: Path) -> None:
    """Sharded models do that; `Tensor.numpy` would forbid it."""
    with tracing(tmp_path / "run.trace"):
        weight = nn.Parameter(torch.ones(4))
        optimizer = torch.optim.SGD([weight], lr=0.1)
        weight.grad = torch.ones(4)
        optimizer.step()
        weight.data.untyped_storage().resize_(0)
        weight.data = torch.ones(3, 3).t()
        weight.grad = torch.ones(3, 3)
        optimizer.step()
    trace = read_trace(tmp_path / "run.trace")
    assert trace.complete
    assert len(trace.steps) == 2
