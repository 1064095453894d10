"""What a component fills in, and what it may override."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from bem_core.config import ExperimentConfig
from bem_core.errors import TrainingError
from bem_core.training import setup
from bem_core.training.batches import Source
from bem_core.training.optim import make_optimizer, parameter_groups
from bem_core.training.schedules import make_scheduler
from bem_core.training.state import Progress
from bem_core.training.weights import WEIGHTS


class Hooks(ABC):
    """The methods of a trainer that a component implements or overrides.

    Attributes:
        config: The experiment.
        progress: How far the run has come.
        model: The model, never wrapped.
        wrapped_model: What to call for a forward pass in training.
        source: Where batches come from.
        epoch_rng: State of the generators at the beginning of the epoch, where the source needs it.
    """

    config: ExperimentConfig
    progress: Progress
    model: nn.Module
    wrapped_model: nn.Module
    source: Source
    epoch_rng: dict[str, Any] | None

    # What a component fills in.

    @abstractmethod
    def _setup_model(self) -> nn.Module:
        """Return the model, on any device."""

    @abstractmethod
    def _compute_loss(self, batch: Any, outputs: Any) -> dict[str, Any]:
        """Return ``loss``, a scalar to minimise, and parts of it that are logged by their names.

        Args:
            batch: A micro-batch, on the device.
            outputs: What `_forward` returned for it.
        """

    @abstractmethod
    def _evaluate(self, dataloader: Any) -> dict[str, float]:
        """Return metrics by name; the model is in evaluation mode, without gradients.

        Args:
            dataloader: What `setup_training` got, or `_setup_dataloaders` made, for evaluation.
        """

    # Hooks.

    def _forward(self, batch: Any) -> Any:
        """Return the outputs for a batch: a mapping is passed by keyword, a tuple or list by position."""
        if isinstance(batch, Mapping):
            return self.wrapped_model(**batch)
        return self.wrapped_model(*batch) if isinstance(batch, list | tuple) else self.wrapped_model(batch)

    def _setup_dataloaders(self) -> tuple[Any, Any]:
        """Return the loaders of training and evaluation where `setup_training` gets none; None for no loader."""
        return None, None

    def _setup_optimizer(self) -> Optimizer:
        """Return the optimizer."""
        return make_optimizer(parameter_groups(self.model, self.config.training), self.config.training)

    def _setup_scheduler(self, optimizer: Optimizer, total: int | None) -> LRScheduler | None:
        """Return the scheduler, or None for constant learning rates.

        Args:
            optimizer: What `_setup_optimizer` returned.
            total: How often the learning rate changes in the whole run: its steps, or its epochs with
                ``scheduler_interval: epoch``; None where the end is not known.
        """
        return make_scheduler(optimizer, self.config.training, total)

    def _batches(self, start: int) -> Iterator[Any]:
        """Return the batches of the epoch ``progress.epoch``, from number ``start`` on."""
        return self.source.begin(self.progress.epoch, start, self.epoch_rng)

    def _collect_rollout(self, epoch: int) -> Iterable[Any]:
        """Return the batches of an epoch with ``batch_source: rollout``."""
        raise TrainingError(f"training.batch_source: {type(self).__name__} does not gather rollouts")

    def _loss_weight(self, batch: Any) -> float:
        """Return what a micro-batch counts in its step: what the mean in its loss is over."""
        return WEIGHTS[self.config.training.loss_weight](batch)

    def _on_step_end(self, losses: Mapping[str, Tensor]) -> None:  # noqa: B027 - a hook
        """Run after each step, with its losses on the device."""

    def _metrics(self) -> dict[str, float]:
        """Return what the component knows of itself after a step; ``logging.metrics_to_log`` says what is logged."""
        return {}

    def _checkpointed_modules(self) -> list[nn.Module]:
        """Return the modules whose activations ``hardware.gradient_checkpointing`` computes again when needed."""
        return setup.repeated_modules(self.model)

    def _sharded_modules(self) -> list[nn.Module]:
        """Return the modules that ``parallel: fsdp`` gathers and frees one after the other; ranks must all run each."""
        return setup.repeated_modules(self.model)

    def _state(self) -> dict[str, Any]:
        """Return what else a checkpoint must hold: tensors and plain values in mappings and lists."""
        return {}

    def _load_state(self, state: dict[str, Any]) -> None:  # noqa: B027 - a hook
        """Take over what `_state` returned."""

    def overrides(self, hook: str) -> bool:
        """Tell whether the component overrides a hook."""
        return getattr(type(self), hook) is not getattr(Hooks, hook)
