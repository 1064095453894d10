"""The one trainer. A component fills in three methods; everything else is an option or a hook with a default."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from bem_core.config import ExperimentConfig
from bem_core.errors import CheckpointError, TrainingError, TrainingInterrupted
from bem_core.evaluation.modes import evaluation_mode
from bem_core.training import setup
from bem_core.training.batches import Source, make_source
from bem_core.training.callbacks import Callback
from bem_core.training.checkpoint import load_tree
from bem_core.training.distributed import join
from bem_core.training.evaluating import FirstBatches, judge_of, prefixed
from bem_core.training.guards import FiniteGuard
from bem_core.training.loop import Loop
from bem_core.training.meter import Meter
from bem_core.training.optim import freeze, make_dual_optimizer, make_optimizer, parameter_groups, trained_parameters
from bem_core.training.persistence import load_state_tree, state_tree
from bem_core.training.precision import Precision
from bem_core.training.rollback import Rollback
from bem_core.training.schedules import make_scheduler
from bem_core.training.signals import StopSignals
from bem_core.training.state import Progress
from bem_core.training.step import Parts, Stepper
from bem_core.training.weights import WEIGHTS
from bem_core.utils.device import pick_device
from bem_core.utils.seeding import rng_fence, seed_everything

_log = logging.getLogger(__name__)


class BaseTrainer(ABC):
    """Trains a model as an experiment says.

    A subclass implements `_setup_model`, `_compute_loss` and `_evaluate`. The other methods with an underscore are
    hooks that it may override.

    Args:
        config: An experiment, a mapping in the form of one, or the path of its file.
        output_dir: Folder of the run; by default ``output.output_dir``, or ``outputs/`` and the name.
        experiment_name: By default the name in the configuration.
        callbacks: Further ones, after those that the configuration asks for.

    Attributes:
        config: The experiment.
        output_dir: Folder of the run.
        device: Where the model is.
        ranks: This process among those of the run.
        progress: How far the run has come.
        model: The model, never wrapped. Set by `setup_training`, as are the next ones.
        wrapped_model: What to call for a forward pass in training: the model, or what spreads it over several ranks.
        optimizer: Of the parameters.
        scheduler: Of the learning rate; None for a constant one.
        eval_dataloader: None for no evaluation.
    """

    #: Values by dotted key that ``compat: legacy`` selects.
    legacy_options: ClassVar[Mapping[str, Any]] = {}

    model: nn.Module
    wrapped_model: nn.Module
    optimizer: Optimizer
    scheduler: LRScheduler | None
    source: Source
    stepper: Stepper

    def __init__(
        self,
        config: ExperimentConfig | Mapping[str, Any] | Path | str,
        output_dir: Path | str | None = None,
        experiment_name: str | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.config = setup.read_config(config, experiment_name, type(self).__name__, self.legacy_options)
        self.output_dir = setup.output_dir(self.config, output_dir)
        hardware = self.config.hardware
        self.device = pick_device(hardware.device, setup.local_index(hardware))
        self.ranks = join(self.device)
        setup.check_hardware(hardware, self.device, self.ranks)
        self.progress = Progress()
        self.precision = Precision(hardware, self.device)
        self.meter = Meter(self.device)
        self.signals = StopSignals()
        self.judge = judge_of(self.config)
        self.callbacks: list[Callback] = []
        self.history: list[dict[str, Any]] = []
        self.dual: Optimizer | None = None
        self.rollback: Rollback | None = None
        self.eval_dataloader: Any = None
        self.grad_norm: Tensor | None = None
        self.samples_seen = 0
        self.stop_reason: str | None = None
        self.epoch_rng: dict[str, Any] | None = None
        self.resumed_rng: dict[str, Any] | None = None
        self.move = setup.mover(self.device)
        self._more_callbacks = callbacks
        self._resume: Path | str | None = None
        self._ready = False
        self._began = time.monotonic()
        self.evaluated_at = -1
        self.saved_at = -1
        self._folder = setup.checkpoint_folder(self.config, self.output_dir)

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
        """Return the scheduler; ``total`` is the number of steps of the run, None where it is not known."""
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

    def _checkpointed_modules(self) -> list[nn.Module]:
        """Return the modules whose activations ``hardware.gradient_checkpointing`` computes again when needed."""
        return setup.repeated_modules(self.model)

    def _state(self) -> dict[str, Any]:
        """Return what else a checkpoint must hold: tensors and plain values in mappings and lists."""
        return {}

    def _load_state(self, state: dict[str, Any]) -> None:  # noqa: B027 - a hook
        """Take over what `_state` returned."""

    # Training.

    def setup_training(self, train_dataloader: Any = None, eval_dataloader: Any = None) -> None:
        """Make the model, the optimizer and all that training needs; `train` does it by itself where it was not done.

        Args:
            train_dataloader: A `DataLoader`, or anything that can be iterated over once an epoch. Without one,
                `_setup_dataloaders` is asked.
            eval_dataloader: The same for evaluation.

        Raises:
            BemError: Configuration, data and model do not fit together.
        """
        training = self.config.training
        seed_everything(training.seed, training.deterministic)
        self.model = setup.place(self._setup_model(), self.config, self.device)
        freeze(self.model, training)
        if self.config.hardware.gradient_checkpointing:
            setup.checkpoint_activations(self._checkpointed_modules())
        self.wrapped_model = setup.spread(self.model, self.config, self.device, self.ranks)
        if train_dataloader is None:
            train_dataloader, made = self._setup_dataloaders()
            eval_dataloader = made if eval_dataloader is None else eval_dataloader
        self.source = make_source(self.config, train_dataloader, self._collect_rollout, self.ranks)
        total = setup.total_steps(self.config, self.source.num_batches)
        self.eval_dataloader = FirstBatches.of(eval_dataloader, 1 if training.fast_dev_run else 0)
        self.optimizer = self._setup_optimizer()
        self.scheduler = self._setup_scheduler(self.optimizer, total)
        self.dual = make_dual_optimizer(self.model, training.dual) if training.dual else None
        self.rollback = Rollback(training.rollback, self.model) if training.rollback else None
        self.stepper = Stepper(self._parts(), training, trained_parameters(self.model, training.dual))
        self.callbacks = [*setup.callbacks(self.config, self.output_dir, self.ranks, total), *self._more_callbacks]
        self._ready = True

    def _parts(self) -> Parts:
        return Parts(
            model=self.model,
            forward=self._forward,
            compute_loss=self._compute_loss,
            optimizer=self.optimizer,
            scheduler=self.scheduler,
            dual=self.dual,
            precision=self.precision,
            guard=FiniteGuard(self.device, self.config.training.max_non_finite_steps),
            sync=setup.sync(self.wrapped_model, self.ranks),
            norm_always=self.ranks.spread,
        )

    def train(self) -> dict[str, Any]:
        """Train to the end, from where the run is.

        Returns:
            ``total_steps``, ``total_epochs``, ``total_time_s``, ``stop_reason``, ``best_metric`` and ``best_step``
            (None without evaluation), ``final_metrics`` of the last evaluation, ``eval_history`` and ``output_dir``.

        Raises:
            TrainingInterrupted: A signal asked for an end; the step was finished and saved.
            NonFiniteError: The loss or a gradient was not finite.
            BemError: The run cannot begin or go on; what was in its folder is still there.
        """
        if not self._ready:
            self.setup_training()
        self._restore()
        setup.begin_folder(self, resumed=self.progress.step > 0)
        self._began = time.monotonic()
        self.stop_reason = None
        self.model.train()
        with self.signals, self._folder:
            try:
                for callback in self.callbacks:
                    callback.on_train_begin(self)
                self.stop_reason = Loop(self).run()
                self._finish()
            finally:
                for callback in self.callbacks:
                    callback.on_train_end(self)
        if self.stop_reason == "signal" and self.signals.received is not None:
            name, folder = self.signals.received.name, self.output_dir
            where = f"step {self.progress.step} is saved in {folder}; --resume auto goes on"
            raise TrainingInterrupted(f"{name}: {where}", self.signals.exit_code)
        return self._summary()

    def _restore(self) -> None:
        source, self._resume = self._resume, None
        if source == "auto":
            found = self._folder.load_latest(self.device)
            if found is not None:
                load_state_tree(self, found[1], found[0].path)
                _log.info("resumed from %s", found[0].path)
        elif source is not None:
            self.load_checkpoint(source)

    def _finish(self) -> None:
        """Log, evaluate and save the last step, where that was not done."""
        self.stepper.check_finite()
        interrupted = self.stop_reason in ("signal", "max_time_s")
        training = self.config.training
        best = False
        if not interrupted:
            if not self.meter.is_empty():
                self.write_log()
            wanted = training.eval_strategy != "no" and self.eval_dataloader is not None
            best = wanted and self.evaluated_at != self.progress.step and self.evaluate_and_judge()
        if best or ((training.save_strategy != "no" or interrupted) and self.saved_at != self.progress.step):
            self.save_checkpoint(best=best)
        if self.config.output.load_best_model_at_end and not interrupted:
            self._load_best()

    def _load_best(self) -> None:
        self._folder.wait()
        best = self._folder.best()
        if best is not None:
            self.model.load_state_dict(load_tree(best.path, self.device, ["model"])["model"])

    def _summary(self) -> dict[str, Any]:
        return {
            "total_steps": self.progress.step,
            "total_epochs": self.progress.epoch,
            "total_time_s": self.elapsed_s(),
            "stop_reason": self.stop_reason,
            "best_metric": self.progress.best,
            "best_step": self.progress.best_step if self.progress.best is not None else None,
            "final_metrics": dict(self.history[-1]) if self.history else {},
            "eval_history": list(self.history),
            "output_dir": str(self.output_dir),
        }

    # Evaluation.

    def evaluate(self) -> dict[str, float]:
        """Evaluate, and leave everything as it was: random generators, modes of all modules, gradients.

        Returns:
            The metrics of `_evaluate`, each name with ``eval_`` in front.

        Raises:
            TrainingError: There is no data for it, or a metric is no number.
        """
        if not self._ready:
            self.setup_training()
        if self.eval_dataloader is None:
            raise TrainingError("there is no evaluation data: setup_training got no eval_dataloader")
        with rng_fence(), evaluation_mode(self.model), torch.no_grad(), self.precision.autocast():
            return prefixed(self._evaluate(self.eval_dataloader))

    def evaluate_and_judge(self) -> bool:
        """Evaluate as training does: write the metrics down; tell whether to save the model as the best so far."""
        metrics = self.evaluate()
        record = {"step": self.progress.step, "epoch": self.progress.epoch, **metrics}
        self.evaluated_at = self.progress.step
        self.history.append(record)
        for callback in self.callbacks:
            callback.on_evaluate(self, record)
        value = self.judge.value(metrics)
        if value is None:
            return False
        best = self.judge.update(self.progress, value)
        if self.judge.gives_up(self.progress):
            self.request_stop("early_stopping")
        return best and self.config.training.save_strategy != "no"

    # Checkpoints.

    def save_checkpoint(self, *, best: bool = False) -> Path | None:
        """Save everything that the run needs to go on; all ranks have to call it.

        Args:
            best: Whether it is the best one so far.

        Returns:
            Where it is, or will be; None in a trial run, which saves nothing, and on ranks that do not write.

        Raises:
            CheckpointError: It cannot be saved; the ones before it are untouched.
        """
        if self.config.training.fast_dev_run:
            return None
        self.stepper.check_finite()
        self.saved_at = self.progress.step
        tree = state_tree(self)
        if not self.ranks.is_main:
            return None
        metric = self.progress.best if best else None
        path = self._folder.save(self.progress.step, tree, metric, best)
        for callback in self.callbacks:
            callback.on_save(self, path)
        return path

    def load_checkpoint(self, path: Path | str) -> None:
        """Put the run back to a checkpoint, exactly.

        Args:
            path: A folder that `save_checkpoint` made.

        Raises:
            CheckpointError: It is damaged, or of another model (it lists keys and shapes).
        """
        if not self._ready:
            self.setup_training()
        load_state_tree(self, load_tree(path, self.device), Path(path))

    def resume_from(self, path: Path | str) -> None:
        """Let `train` go on from a checkpoint.

        Args:
            path: Its folder, or ``auto`` for the newest one in the folder of the run that is whole; without any,
                `train` begins anew.

        Raises:
            CheckpointError: There is no such folder.
        """
        if path != "auto" and not Path(path).is_dir():
            raise CheckpointError(
                f"{path}: there is no such checkpoint; 'auto' takes the newest of {self._folder.root}"
            )
        self._resume = path

    # For the loop and callbacks.

    def begin_batches(self) -> Iterator[Any]:
        """Return the batches of this epoch that are left."""
        return self._batches(self.progress.batch)

    def request_stop(self, reason: str) -> None:
        """Let training end after this step; the first reason counts."""
        self.stop_reason = self.stop_reason or reason

    def write_log(self) -> None:
        """Write down the mean losses since the last time, learning rates and the norm of the gradients."""
        losses = setup.mean_losses(self.meter, self.ranks)
        record: dict[str, Any] = {"step": self.progress.step, "epoch": self.progress.epoch, **losses}
        record |= setup.learning_rates(self.optimizer)
        if self.grad_norm is not None:
            record["grad_norm"] = self.grad_norm.item()
        for callback in self.callbacks:
            callback.on_log(self, record)

    def counted(self) -> int:
        """Return the steps, or micro-steps, that ``training.max_steps`` counts."""
        return self.progress.micro_step if self.config.training.progress_unit == "micro_step" else self.progress.step

    def elapsed_s(self) -> float:
        """Return the seconds of training, in earlier processes too."""
        return self.progress.elapsed_s + time.monotonic() - self._began

    def overrides(self, hook: str) -> bool:
        """Tell whether the component overrides a hook."""
        return getattr(type(self), hook) is not getattr(BaseTrainer, hook)
