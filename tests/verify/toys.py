"""Small trainings in plain loops. Each part is a method, so that a fault or a refactoring replaces only that part."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, AdamW, Optimizer, lr_scheduler
from torch.utils.data import DataLoader, TensorDataset

from migrate.verify.trace.reader import Trace, read_trace
from migrate.verify.trace.session import tracing

torch.set_num_threads(1)
FEATURES, CLASSES = 6, 3


class Block(nn.Module):
    """A residual block with the usual parts."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.linear = nn.Linear(8, 8)
        self.dropout = nn.Dropout(0.2)
        self.approximate = "none"

    def forward(self, x: Tensor) -> Tensor:
        return x + self.dropout(functional.gelu(self.linear(self.norm(x)), approximate=self.approximate))


class Net(nn.Module):
    """A model with buffers, dropout, a residual path and a head that is called last."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs = nn.Linear(FEATURES, 8)
        self.batch_norm = nn.BatchNorm1d(8)
        self.block = Block()
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(self.batch_norm(self.inputs(x))))


def samples(size: int, seed: int) -> TensorDataset:
    features = torch.randn(size, FEATURES, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(features, features[:, :CLASSES].argmax(1))


class Toy:
    """A classifier: accumulation with a partial window, clipping, two groups, warm-up, evaluation, checkpoints.

    Args:
        folder: For checkpoints.
        at: The step at which a fault begins.
    """

    name: ClassVar[str] = "classifier"
    steps = 14
    window = 2
    rate, decay, limit = 0.02, 0.01, 0.5
    eval_every, save_every = 4, 5

    def __init__(self, folder: Path, at: int = 0) -> None:
        self.folder = folder
        self.at = at
        self.step = 0
        self.epoch = 0
        self.calls = 0
        self.first_call: dict[int, int] = {}
        self.last_call: dict[int, int] = {}
        self.best = float("inf")
        self.saved_at: list[int] = []
        self.trace: Any = None

    @property
    def hit(self) -> bool:
        """Whether the fault is there in this step."""
        return 0 < self.at <= self.step

    @property
    def now(self) -> bool:
        """Whether it begins in this step."""
        return self.at == self.step

    # Setting up.

    def seed(self) -> None:
        random.seed(1)
        np.random.seed(2)
        torch.manual_seed(3)

    def make_model(self) -> nn.Module:
        return Net()

    def groups(self) -> list[dict[str, Any]]:
        decayed = [p for p in self.model.parameters() if p.ndim > 1]
        plain = [p for p in self.model.parameters() if p.ndim == 1]
        return [{"params": decayed, "weight_decay": self.decay}, {"params": plain, "weight_decay": 0.0}]

    def make_optimizer(self) -> Optimizer:
        return AdamW(self.groups(), lr=self.rate)

    def make_schedule(self) -> Any:
        return lr_scheduler.LambdaLR(self.optimizer, self.factor)

    def factor(self, step: int) -> float:
        return (step + 1) / 3 if step < 2 else 0.5 * (1 + math.cos(math.pi * (step - 2) / (self.steps - 2)))

    def make_loaders(self) -> tuple[Any, Any]:
        return DataLoader(samples(42, 0), batch_size=4, shuffle=True), DataLoader(samples(10, 1), batch_size=4)

    def prepare_run(self) -> None:
        self.seed()
        self.model = self.make_model()
        self.optimizer = self.make_optimizer()
        self.schedule = self.make_schedule()
        self.loader, self.eval_loader = self.make_loaders()
        self.model.train()

    # The loop.

    def record(self, path: Path, **options: Any) -> Trace:
        """Train, with a trace."""
        self.warm_up()
        with tracing(path, **options) as self.trace:
            self.go()
        return read_trace(path)

    def warm_up(self) -> None:
        """Do what is not recorded."""

    def go(self) -> None:
        """Train from the beginning to the end."""
        self.prepare_run()
        self.loop()

    def loop(self) -> None:
        while self.step < self.steps:
            for window in self.windows():
                self.step += 1
                self.update(window)
                self.after_step()
                if self.step >= self.steps:
                    break
            self.epoch += 1
        self.finish()

    def windows(self) -> Iterator[list[Any]]:
        """Yield the windows of one epoch; the last has one micro-batch."""
        window = []
        for batch in self.loader:
            window.append(batch)
            if len(window) == self.window:
                yield window
                window = []
        if window:
            yield window

    def update(self, window: list[Any]) -> None:
        self.reset()
        for number, batch in enumerate(window):
            self.micro_step(batch, window, number)
        self.clip()
        self.take(self.optimizer)
        self.move_schedule()

    def reset(self) -> None:
        self.optimizer.zero_grad()

    def micro_step(self, batch: Any, window: list[Any], number: int) -> None:
        features, labels = self.augment(batch)
        loss = self.loss(self.forward(features), labels)
        self.backward(self.shared(loss, batch, window))

    def augment(self, batch: Any) -> Any:
        scale = 1 + 0.1 * np.random.rand() + 0.01 * random.random()
        return batch[0] * scale, batch[1]

    def forward(self, features: Tensor) -> Tensor:
        return self.model(features)

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(outputs, labels)

    def shared(self, loss: Tensor, batch: Any, window: list[Any]) -> Tensor:
        """Weight a micro-batch by its samples."""
        return loss * (len(batch[0]) / sum(len(one[0]) for one in window))

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def clip(self) -> None:
        nn.utils.clip_grad_norm_(self.model.parameters(), self.limit)

    def take(self, optimizer: Optimizer) -> None:
        """Let an optimizer take its step, and count it."""
        optimizer.step()
        self.calls += 1
        self.first_call.setdefault(self.step, self.calls)
        self.last_call[self.step] = self.calls

    def move_schedule(self) -> None:
        self.schedule.step()

    # Around the steps.

    def after_step(self) -> None:
        if self.step % self.eval_every == 0:
            self.evaluate()
        if self.step % self.save_every == 0:
            self.save("last.pt")

    def evaluate(self) -> None:
        self.model.eval()
        with torch.no_grad():
            value = self.metric()
        self.report("loss", value)
        if self.improves(value):
            self.best = value
            self.save("best.pt")
        self.model.train()

    def metric(self) -> float:
        total = 0.0
        for features, labels in self.eval_loader:
            total += self.loss(self.model(features), labels).item() * len(labels)
        return total / len(self.eval_loader.dataset)

    def report(self, name: str, value: float) -> None:
        if self.trace is not None:
            self.trace.metric(name, value)

    def improves(self, value: float) -> bool:
        return value < self.best

    def save(self, name: str) -> None:
        self.saved_at.append(self.step)
        torch.save(self.state(), self.folder / name)

    def state(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict()["last_epoch"],
            "step": self.step,
            "best": self.best,
        }

    def finish(self) -> None:
        """Do what is left after the last step."""


class Regressor(Toy):
    """SGD with momentum, no accumulation, clipping by value, steps in the learning rate, another loss."""

    name = "regressor"
    window = 1
    limit = 0.05
    steps = 16

    def make_optimizer(self) -> Optimizer:
        return SGD(self.groups(), lr=self.rate, momentum=0.9, nesterov=True)

    def make_schedule(self) -> Any:
        return lr_scheduler.StepLR(self.optimizer, step_size=3, gamma=0.7)

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return functional.mse_loss(outputs, functional.one_hot(labels, CLASSES).to(outputs.dtype))

    def clip(self) -> None:
        nn.utils.clip_grad_value_(self.model.parameters(), self.limit)


class Constrained(Toy):
    """A second optimizer raises multipliers of two violations, after some steps and within bounds."""

    name = "constrained"
    window = 1
    dual_rate, dual_start, low, high = 0.3, 4, 0.2, 0.7

    def make_model(self) -> nn.Module:
        model = Net()
        model.multipliers = nn.Parameter(torch.tensor([0.5, 0.5]))
        return model

    def groups(self) -> list[dict[str, Any]]:
        return [
            {"params": [p for n, p in self.model.named_parameters() if n != "multipliers"], "weight_decay": self.decay}
        ]

    def make_optimizer(self) -> Optimizer:
        self.dual = SGD([self.model.multipliers], lr=self.dual_rate)
        return super().make_optimizer()

    def violations(self, outputs: Tensor) -> Tensor:
        return torch.stack([outputs.square().mean() - 0.1, -outputs.abs().mean()])

    def micro_step(self, batch: Any, window: list[Any], number: int) -> None:
        features, labels = self.augment(batch)
        outputs = self.forward(features)
        found = self.violations(outputs)
        self.found = found.detach()
        self.backward(self.loss(outputs, labels) + (self.model.multipliers.detach() * found).sum())

    def clip(self) -> None:
        nn.utils.clip_grad_norm_(self.optimizer.param_groups[0]["params"], self.limit)

    def update(self, window: list[Any]) -> None:
        super().update(window)
        if self.step >= self.dual_start:
            self.ascend()

    def ascend(self) -> None:
        self.dual.zero_grad()
        self.model.multipliers.grad = -self.found
        self.take(self.dual)
        self.bound()

    def bound(self) -> None:
        self.model.multipliers.data.clamp_(self.low, self.high)


class Resumed(Toy):
    """Goes on from its own checkpoint after six steps, in the middle of an epoch; only what follows is recorded."""

    name = "resumed"
    steps = 14
    stop = 7

    def warm_up(self) -> None:
        self.prepare_run()
        while self.step < self.stop:
            for window in self.windows():
                self.step += 1
                self.update(window)
                if self.step == self.stop:
                    break
        self.calls = 0
        self.saved = self.snapshot()

    def go(self) -> None:
        random.seed(7)
        np.random.seed(7)
        torch.manual_seed(7)
        self.model = self.make_model()
        self.optimizer = self.make_optimizer()
        self.schedule = self.make_schedule()
        self.model.train()
        self.restore(self.saved)
        self.loop()

    def snapshot(self) -> dict[str, Any]:
        return {
            "model": {name: value.clone() for name, value in self.model.state_dict().items()},
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "rng": (random.getstate(), np.random.get_state(), torch.get_rng_state()),
            "step": self.step,
        }

    def restore(self, saved: dict[str, Any]) -> None:
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.schedule.load_state_dict(saved["schedule"])
        random.setstate(saved["rng"][0])
        np.random.set_state(saved["rng"][1])
        torch.set_rng_state(saved["rng"][2])


TRAININGS: dict[str, type[Toy]] = {one.name: one for one in (Toy, Regressor, Constrained, Resumed)}
