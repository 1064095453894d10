"""The work that `trainer.py` measures, and the loops that do it: one written by hand and ours.

Each gets the same batches in memory and does the same: AdamW, a linear schedule, clipping, and a line with the mean
loss in a file every 50 steps. A clock counts the steps and measures from the end of the warm-up to the last one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

LOG_EVERY = 50
Batch = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Work:
    """Something to train.

    Attributes:
        model: Makes the model.
        batches: In memory, gone through again and again.
        warmup: Steps before the clock starts.
        steps: Steps that are measured.
    """

    model: Callable[[], nn.Module]
    batches: list[Batch]
    warmup: int
    steps: int

    @property
    def total(self) -> int:
        """All steps."""
        return self.warmup + self.steps


class Clock:
    """Seconds and CPU seconds between the two marks of a run."""

    def __init__(self, work: Work) -> None:
        self._work, self._count = work, 0
        self.wall_s = self.cpu_s = 0.0

    def tick(self, _: Any = None) -> None:
        """Count a step that has ended; also as a hook that gets its losses."""
        self._count += 1
        if self._count == self._work.warmup:
            self.wall_s, self.cpu_s = -time.perf_counter(), -time.process_time()
        elif self._count == self._work.total:
            self.wall_s += time.perf_counter()
            self.cpu_s += time.process_time()


class Mlp(nn.Module):
    """A model whose step takes about a third of a millisecond on one thread."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 4)
        )

    def forward(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return logits; with labels the loss, as Hugging Face's trainer wants it."""
        logits: Tensor = self.layers(features)
        return logits if labels is None else functional.cross_entropy(logits, labels)


class Gpt(nn.Module):
    """A decoder with the sizes of GPT-2 small: 12 layers, 768 wide, 50,257 tokens, 124 million parameters."""

    def __init__(self, width: int = 768, layers: int = 12, tokens: int = 50257, length: int = 128) -> None:
        super().__init__()
        self.tokens = nn.Embedding(tokens, width)
        self.places = nn.Embedding(length, width)
        layer = nn.TransformerEncoderLayer(
            width, width // 64, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, tokens, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return logits, shape ``(B, L, V)``; with labels the loss."""
        length = features.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length)
        hidden = self.tokens(features) + self.places.weight[:length]
        logits: Tensor = self.head(self.layers(hidden, mask, is_causal=True))
        return logits if labels is None else functional.cross_entropy(logits.flatten(0, 1), labels.flatten())


def tiny(steps: int) -> Work:
    """Return the work whose steps are short, so that overhead shows."""
    generator = torch.Generator().manual_seed(0)
    batches = [
        {"features": torch.randn(32, 32, generator=generator), "labels": torch.randint(4, (32,), generator=generator)}
        for _ in range(100)
    ]
    return Work(Mlp, batches, 300, steps)


def large(steps: int) -> Work:
    """Return the work of a real model."""
    generator = torch.Generator().manual_seed(0)
    tokens = [torch.randint(50257, (1, 33), generator=generator) for _ in range(8)]
    batches = [{"features": one[:, :-1].contiguous(), "labels": one[:, 1:].contiguous()} for one in tokens]
    return Work(Gpt, batches, 1, steps)


def bare(work: Work, folder: Path) -> Clock:
    """Train with a loop as one writes it by hand."""
    clock = Clock(work)
    torch.manual_seed(0)
    model = work.model()
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 - step / work.total)
    losses = []
    model.train()
    with (folder / "metrics.jsonl").open("w", encoding="utf-8") as file:
        for step in range(1, work.total + 1):
            batch = work.batches[(step - 1) % len(work.batches)]
            loss = loss_of(model(batch["features"]), batch)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())
            if step % LOG_EVERY == 0:
                record = {"step": step, "loss": sum(losses) / len(losses), "lr": scheduler.get_last_lr()[0]}
                file.write(json.dumps(record) + "\n")
                losses = []
            clock.tick()
    return clock


def loss_of(logits: Tensor, batch: Batch) -> Tensor:
    """Return the mean cross-entropy of the labels of a batch."""
    return functional.cross_entropy(logits.flatten(0, -2), batch["labels"].flatten())


def ours(work: Work, folder: Path) -> Clock:
    """Train with `BaseTrainer`, with its log, metrics and checks as they are by default."""
    from bem_core.training.base_trainer import BaseTrainer

    clock = Clock(work)

    class Measured(BaseTrainer):
        def _setup_model(self) -> nn.Module:
            return work.model()

        def _forward(self, batch: Any) -> Any:
            return self.wrapped_model(batch["features"])

        def _compute_loss(self, batch: Any, outputs: Any) -> dict[str, Any]:
            return {"loss": loss_of(outputs, batch)}

        def _evaluate(self, dataloader: Any) -> dict[str, float]:
            return {}

        _on_step_end = staticmethod(clock.tick)

    training = {
        "max_steps": work.total,
        "learning_rate": 1e-3,
        "logging_steps": LOG_EVERY,
        "save_strategy": "no",
        "seed": 0,
    }
    trainer = Measured({"name": "x", "training": training, "hardware": {"device": "cpu"}}, folder)
    trainer.setup_training(work.batches)
    trainer.train()
    return clock
