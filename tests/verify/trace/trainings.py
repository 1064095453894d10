"""Small trainings for tests of the tracer: each returns all that it leaves behind."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer, lr_scheduler
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset

Training = Callable[[], dict[str, Any]]


def seed() -> None:
    torch.manual_seed(7)
    random.seed(7)
    np.random.seed(7)


def generators() -> list[Any]:
    return [torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist(), np.random.get_state()[2]]


def data(num: int = 24) -> TensorDataset:
    return TensorDataset(torch.randn(num, 6), torch.randint(3, (num,)))


class Net(nn.Module):
    """Has a buffer, dropout, a tied weight and a frozen parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 6)
        self.norm = nn.BatchNorm1d(6)
        self.drop = nn.Dropout(0.2)
        self.again = nn.Linear(6, 6)
        self.again.weight = self.first.weight
        self.head = nn.Linear(6, 3)
        self.scale = nn.Parameter(torch.ones(1), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.again(self.drop(self.norm(self.first(x)))) * self.scale)
        return out


def trained(model: nn.Module) -> list[Tensor]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def left(model: nn.Module, *optimizers: Optimizer, **more: Any) -> dict[str, Any]:
    states = [one.state_dict() for one in optimizers]
    return {"model": model.state_dict(), "optimizers": states, "generators": generators(), **more}


def plain() -> dict[str, Any]:
    """Loader, accumulation of two, clipping, schedule, draws from all generators, evaluation each epoch."""
    seed()
    loader, model = DataLoader(data(), batch_size=4, shuffle=True), Net()
    optimizer = torch.optim.AdamW(trained(model), lr=0.05)
    schedule = lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=6)
    losses, scores = [], []
    for _ in range(2):
        model.train()
        for at, (x, y) in enumerate(loader):
            loss = functional.cross_entropy(model(x + random.gauss(0, 0.1) + np.random.randn()), y)
            (loss / 2).backward()
            losses.append((loss / 2).item())
            if at % 2:
                nn.utils.clip_grad_norm_(trained(model), 0.3)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
        model.eval()
        with torch.no_grad():
            scores.append(model(loader.dataset.tensors[0]).sum().item())  # type: ignore[attr-defined]
    return left(model, optimizer, losses=losses, scores=scores)


def adversarial() -> dict[str, Any]:
    """Two models, two optimizers, a custom one, a second derivative."""
    seed()
    maker, judge = nn.Linear(3, 6), nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 1))
    first, second = torch.optim.SGD(maker.parameters(), lr=0.1, momentum=0.9), Sign(judge.parameters(), lr=0.01)
    for _ in range(3):
        real = torch.randn(5, 6, requires_grad=True)
        second.zero_grad()
        (slope,) = torch.autograd.grad(judge(real).sum(), real, create_graph=True)
        torch.autograd.backward([judge(maker(torch.randn(5, 3))).mean(), slope.pow(2).mean()])
        nn.utils.clip_grad_value_(judge.parameters(), 0.05)
        second.step()
        first.zero_grad(set_to_none=False)
        (-judge(maker(torch.randn(5, 3))).mean()).backward()
        first.step()
    return left(nn.ModuleList([maker, judge]), first, second)


class Sign(Optimizer):
    """An optimizer that torch does not know, with a state that is no tensor."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, {"lr": lr})

    def zero_grad(self, set_to_none: bool = True) -> None:
        super().zero_grad(set_to_none)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.sub_(group["lr"] * parameter.grad.sign())
                    self.state[parameter]["count"] = self.state[parameter].get("count", 0) + 1


def closure() -> dict[str, Any]:
    """LBFGS calls backward inside its step."""
    seed()
    model = nn.Linear(6, 3)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=3)
    x, y = data().tensors

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = functional.cross_entropy(model(x), y)
        value.backward()
        return value

    for _ in range(2):
        optimizer.step(loss)
    return left(model, optimizer)


def scaled() -> dict[str, Any]:
    """A gradient scaler that skips a step."""
    seed()
    model, scaler = nn.Linear(6, 3), torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x, y = data().tensors
    for number in range(4):
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x), y) * (float("inf") if number == 1 else 1)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
    return left(model, optimizer, scaler=scaler.state_dict())


def recomputed() -> dict[str, Any]:
    """Activations are computed again in the backward pass; sparse gradients; float64."""
    seed()
    table, model = nn.Embedding(5, 6, sparse=True), Net().double()
    optimizers = [torch.optim.SparseAdam(table.parameters()), torch.optim.Adam(trained(model))]
    for _ in range(2):
        for optimizer in optimizers:
            optimizer.zero_grad()
        hidden = checkpoint(model, table(torch.randint(5, (8,))).double(), use_reentrant=False)
        functional.mse_loss(hidden, torch.zeros(8, 3, dtype=torch.float64)).backward()
        for optimizer in optimizers:
            optimizer.step()
    return left(nn.ModuleList([table, model]), *optimizers)


def workers() -> dict[str, Any]:
    """Batches come from two processes, and a generator of the loader's own."""
    seed()
    generator = torch.Generator()
    generator.manual_seed(3)
    loader = DataLoader(data(), batch_size=5, shuffle=True, num_workers=2, generator=generator)
    model = nn.Linear(6, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    seen = []
    for x, y in loader:
        optimizer.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        seen.append(x)
    return left(model, optimizer, seen=seen, own=generator.get_state())


def scripted() -> dict[str, Any]:
    """TorchScript compiles loss functions from their source."""
    seed()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        model = torch.jit.script(Scripted())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x, y = data().tensors
    for _ in range(2):
        optimizer.zero_grad()
        model(x, y).backward()
        optimizer.step()
    return left(model, optimizer)


class Scripted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return functional.cross_entropy(functional.dropout(self.layer(x), 0.1), y)


def compiled() -> dict[str, Any]:
    """A model compiled as a whole."""
    seed()
    model = Net()
    fast = torch.compile(model, backend="aot_eager", fullgraph=True)
    optimizer = torch.optim.Adam(trained(model))
    x, y = data().tensors
    for _ in range(2):
        optimizer.zero_grad()
        functional.cross_entropy(fast(x), y).backward()
        optimizer.step()
    return left(model, optimizer)


TRAININGS: list[Training] = [plain, adversarial, closure, scaled, recomputed, workers, scripted, compiled]


def same(one: Any, other: Any) -> bool:
    """Tell whether two nested values are the same to the last bit."""
    if isinstance(one, Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)
