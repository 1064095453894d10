"""How long a resumed run of 124 million parameters takes from `train` to its first batch; run by `trainer.py`."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from _trainer_work import large, loss_of
from torch import nn

from bem_core.training.base_trainer import BaseTrainer
from bem_core.training.checkpoint import load_tree


class Measured(BaseTrainer):
    """Remembers when the first batch came."""

    first: float | None = None

    def _setup_model(self) -> nn.Module:
        return large(1).model()

    def _forward(self, batch: Any) -> Any:
        self.first = self.first or time.perf_counter()
        return self.wrapped_model(batch["features"])

    def _compute_loss(self, batch: Any, outputs: Any) -> dict[str, Any]:
        return {"loss": loss_of(outputs, batch)}

    def _evaluate(self, dataloader: Any) -> dict[str, float]:
        return {}


def made(folder: str, steps: int) -> Measured:
    """A trainer that is set up."""
    training = {"max_steps": steps, "scheduler_type": "constant", "save_steps": 1}
    trainer = Measured({"name": "x", "training": training, "hardware": {"device": "cpu"}}, folder)
    trainer.setup_training(large(1).batches)
    return trainer


def main(what: str, folder: str) -> None:
    """Save after one step, or resume and print seconds."""
    if what == "save":
        made(folder, 1).train()
        return
    trainer = made(folder, 2)
    saved = Path(folder) / "checkpoints" / "step-00000001"
    load_tree(saved)  # The first one also gets the memory from the system.
    begin = time.perf_counter()
    load_tree(saved)
    loaded = time.perf_counter() - begin
    trainer.resume_from("auto")
    begin = time.perf_counter()
    trainer.train()
    assert trainer.first is not None
    print(json.dumps({"load_s": loaded, "resume_s": trainer.first - begin}))


if __name__ == "__main__":
    main(*sys.argv[1:])
