"""Other trainers that do the work of `_trainer_work.py`: in an environment of their own, set up at the first use."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from _trainer_work import LOG_EVERY, Clock, Work, loss_of
from torch import nn

HERE = Path(__file__).resolve().parent
VENV = HERE / ".cache" / "trainers"


def environment() -> str:
    """Return the Python of the environment, which is made where it is missing."""
    python = VENV / "bin" / "python"
    stamp = VENV / ".installed"
    if not stamp.exists():
        print(f"installing the peers into {VENV}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=True)
        pins = (HERE.parent / "constraints.txt").read_text(encoding="utf-8").splitlines()
        torch_pin = next(line for line in pins if line.startswith("torch=="))
        packages = [torch_pin, "numpy", "rich", "--requirement", str(HERE / "requirements-trainers.txt")]
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *packages], check=True)
        stamp.touch()
    return str(python)


def _parts(work: Work) -> tuple[nn.Module, Any, Any]:
    torch.manual_seed(0)
    model = work.model()
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 - step / work.total)
    return model, optimizer, scheduler


def _batches(work: Work) -> Any:
    return (work.batches[step % len(work.batches)] for step in range(work.total))


class _Log:
    """Writes the mean loss every 50 steps."""

    def __init__(self, folder: Path) -> None:
        self._path, self._losses = folder / "metrics.jsonl", []

    def add(self, step: int, loss: Any, rate: float) -> None:
        """Take the loss of a step."""
        self._losses.append(loss.item())
        if step % LOG_EVERY == 0:
            record = {"step": step, "loss": sum(self._losses) / len(self._losses), "lr": rate}
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
            self._losses = []


class _Loader:
    """The batches of a work as something that is no list, which Lightning would take for several loaders."""

    def __init__(self, batches: list[Any]) -> None:
        self._batches = batches

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self._batches)

    def __iter__(self) -> Any:
        """Iterate over the batches."""
        return iter(self._batches)


def fabric(work: Work, folder: Path) -> Clock:
    """Train with Lightning Fabric."""
    from lightning.fabric import Fabric

    clock, log, device = Clock(work), _Log(folder), Fabric(accelerator="cpu", devices=1)
    model, optimizer, scheduler = _parts(work)
    model, optimizer = device.setup(model, optimizer)
    for step, batch in enumerate(_batches(work), 1):
        loss = loss_of(model(batch["features"]), batch)
        optimizer.zero_grad()
        device.backward(loss)
        device.clip_gradients(model, optimizer, max_norm=1.0)
        optimizer.step()
        scheduler.step()
        log.add(step, loss, scheduler.get_last_lr()[0])
        clock.tick()
    return clock


def accelerate(work: Work, folder: Path) -> Clock:
    """Train with Accelerate."""
    from accelerate import Accelerator

    clock, log, device = Clock(work), _Log(folder), Accelerator(cpu=True)
    model, optimizer, scheduler = device.prepare(*_parts(work))
    for step, batch in enumerate(_batches(work), 1):
        with device.accumulate(model):
            loss = loss_of(model(batch["features"]), batch)
            optimizer.zero_grad()
            device.backward(loss)
            device.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
        log.add(step, loss, scheduler.get_last_lr()[0])
        clock.tick()
    return clock


def transformers(work: Work, folder: Path) -> Clock:
    """Train with the trainer of Hugging Face, which logs every 50 steps."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    clock = Clock(work)

    class Tick(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            clock.tick()

    class Measured(Trainer):
        def get_train_dataloader(self) -> Any:
            return work.batches

        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
            return loss_of(model(inputs["features"]), inputs)

    model, optimizer, scheduler = _parts(work)
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=work.total,
        logging_steps=LOG_EVERY,
        max_grad_norm=1.0,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    Measured(model=model, args=arguments, optimizers=(optimizer, scheduler), callbacks=[Tick()]).train()
    return clock


def lightning(work: Work, folder: Path) -> Clock:
    """Train with Lightning's trainer and its CSV logger, every 50 steps."""
    from lightning.pytorch import Callback, LightningModule, Trainer
    from lightning.pytorch.loggers import CSVLogger

    clock = Clock(work)
    model, optimizer, scheduler = _parts(work)

    class Measured(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def training_step(self, batch: Any, number: int) -> Any:
            loss = loss_of(self.inner(batch["features"]), batch)
            self.log("loss", loss)
            return loss

        def configure_optimizers(self) -> Any:
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    class Tick(Callback):
        def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
            clock.tick()

    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=work.total,
        gradient_clip_val=1.0,
        logger=CSVLogger(str(folder)),
        log_every_n_steps=LOG_EVERY,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Tick()],
    )
    trainer.fit(Measured(), train_dataloaders=_Loader(work.batches))
    return clock
