"""Services that draw curves: TensorBoard and Weights & Biases, each only where an experiment asks for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bem_core.config.base_config import ExperimentConfig
from bem_core.training.callbacks import Callback, Record
from bem_core.utils.extras import import_extra

if TYPE_CHECKING:
    from bem_core.training.base_trainer import BaseTrainer


def _scalars(record: Record) -> dict[str, float]:
    return {name: value for name, value in record.items() if isinstance(value, float)}


class TensorBoard(Callback):
    """Writes scalars for TensorBoard.

    Args:
        folder: Where its event files go.
    """

    def __init__(self, folder: Path) -> None:
        import_extra("tensorboard", "tensorboard", "logging.tensorboard_enabled")
        self._folder = folder
        self._writer: Any = None

    def on_train_begin(self, trainer: BaseTrainer) -> None:
        """Open the file; what an earlier process wrote after the checkpoint is hidden."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(self._folder), purge_step=trainer.progress.step + 1)

    def on_log(self, trainer: BaseTrainer, record: Record) -> None:
        """Write the scalars."""
        for name, value in _scalars(record).items():
            self._writer.add_scalar(name, value, record["step"])

    on_evaluate = on_log

    def on_train_end(self, trainer: BaseTrainer) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()


class WeightsAndBiases(Callback):
    """Sends scalars to Weights & Biases; a resumed run goes on with the same curve.

    Args:
        config: Project, entity, name, tags and further arguments of ``wandb.init`` are in its ``logging`` section.
        folder: Where the service keeps its files.
    """

    def __init__(self, config: ExperimentConfig, folder: Path) -> None:
        self._module = import_extra("wandb", "wandb", "logging.wandb_enabled")
        self._config, self._folder = config, folder
        self._id: str | None = None
        self._run: Any = None

    def on_train_begin(self, trainer: BaseTrainer) -> None:
        """Begin the run, or go on with the one of the checkpoint."""
        chosen = self._config.logging
        arguments = {
            "project": chosen.wandb_project,
            "entity": chosen.wandb_entity,
            "name": chosen.wandb_name or self._config.name,
            "tags": chosen.wandb_tags or None,
            "dir": str(self._folder),
            "config": self._config.to_dict(),
        }
        resumed = {"id": self._id, "resume": "allow"} if self._id else {}
        self._run = self._module.init(**arguments | chosen.wandb_config | resumed)
        self._id = self._run.id

    def on_log(self, trainer: BaseTrainer, record: Record) -> None:
        """Send the scalars."""
        self._run.log(_scalars(record), step=record["step"])

    on_evaluate = on_log

    def on_train_end(self, trainer: BaseTrainer) -> None:
        """End the run."""
        if self._run is not None:
            self._run.finish()

    def state(self) -> dict[str, Any]:
        """Return the name of the run."""
        return {"id": self._id}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over the name of the run."""
        self._id = state["id"]
