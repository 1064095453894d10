"""What a program observes of its own operations, by modes, traces and warnings, has nothing of the recorder in it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from migrate.verify.trace.reader import read_trace
from migrate.verify.trace.session import tracing


class Model(nn.Module):
    """Returns its loss, as many language models do."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Linear(4, 8)
        self.drop = nn.Dropout(0.1)
        self.out = nn.Linear(8, 1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return nn.functional.mse_loss(self.out(self.drop(torch.relu(self.inside(x)))), y)


class Operators(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.found.append(str(function))
        return function(*args, **(kwargs or {}))


class Functions(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.found.append(getattr(function, "__name__", str(function)))
        return function(*args, **(kwargs or {}))


Step = Callable[..., float]


def of_dispatch_mode(model: Model, step: Step) -> list[str]:
    with Operators() as mode:
        step(model)
    return mode.found


def of_function_mode(model: Model, step: Step) -> list[str]:
    with Functions() as mode:
        step(model)
    return mode.found


def without_places(graph: Any) -> str:
    """Return a graph without lines of sources, of which some are those of wrappers, and numbers of classes."""
    return re.sub(r"\.___torch_mangle_\d+|#.*", "", str(graph))


def of_torchscript(model: Model, step: Step) -> list[str]:
    """The names of values in the graph are those of variables, the recorder's too where it is seen."""
    x, y = batch()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        traced = torch.jit.trace(model, (x, y), check_trace=False)
    return [without_places(traced.inlined_graph), *(str(one.message) for one in caught), repr(step(traced))]


def of_trace_module(model: Model, step: Step) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        traced = torch.jit.trace_module(model, {"forward": batch()}, check_trace=False)
    return [traced.code, *(str(one.message) for one in caught)]


def of_onnx(model: Model, step: Step) -> list[str]:
    """What an export to ONNX begins with; the rest needs a package that is none of ours.

    Its values are called like variables of the functions around an operation, and there are more functions.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        graph, *_ = torch.jit._get_trace_graph(model, batch())  # type: ignore[attr-defined]
    return [re.sub(r"%[\w.]+", "%", without_places(graph)), *(str(one.message) for one in caught)]


def of_fake_tensors(model: Model, step: Step) -> list[str]:
    with FakeTensorMode():
        return [str(Model()(torch.ones(3, 4), torch.zeros(3, 1)))]


def of_meta_tensors(model: Model, step: Step) -> list[str]:
    with torch.device("meta"):
        return [str(Model()(torch.ones(3, 4), torch.zeros(3, 1)))]


def of_fx(model: Model, step: Step) -> list[str]:
    return [str(make_fx(lambda x, y: model(x, y))(*batch()).code), str(torch.fx.symbolic_trace(model).graph)]


WAYS = [
    of_dispatch_mode,
    of_function_mode,
    of_torchscript,
    of_trace_module,
    of_onnx,
    of_fake_tensors,
    of_meta_tensors,
    of_fx,
]


def batch() -> tuple[Tensor, Tensor]:
    """Return one that is not contiguous, so that a digest has to copy it."""
    return torch.arange(12.0).reshape(4, 3).t(), torch.zeros(3, 1)


def observed(way: Callable[[Model, Step], list[str]]) -> list[str]:
    """Train a little before and after, and return what was observed between, with the losses."""
    torch.manual_seed(0)
    model = Model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(function: Any) -> float:
        optimizer.zero_grad()
        loss = function(*batch())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return float(loss.item())

    return [repr(step(model)), *way(model, step), repr(step(model))]


@pytest.mark.parametrize("level", ["light", "full", "deep"])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_program_observes_the_same(way: Callable[[Model, Step], list[str]], level: str, tmp_path: Path) -> None:
    observed(way)  # What torch says or names only once is said and named.
    bare = observed(way)
    with tracing(tmp_path / "run.trace", level=level):
        recorded = observed(way)
    trace = read_trace(tmp_path / "run.trace")
    assert recorded == bare
    assert trace.complete
    noted = trace.footer is not None and trace.footer["notes"]
    assert bool(noted) == (way in (of_torchscript, of_trace_module, of_onnx))


def test_a_tensor_without_values_is_told_by_its_shape(tmp_path: Path) -> None:
    digests = []
    for name, rows in (("a", 3), ("b", 3), ("c", 4)):
        with tracing(tmp_path / name, level="full"), torch.device("meta"):
            model = nn.Linear(4, 1)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            model(torch.ones(rows, 4)).sum().backward()
            optimizer.step()
        digests.append(read_trace(tmp_path / name).steps[0].forwards[0]["inputs"])
    assert digests[0] == digests[1] != digests[2]
