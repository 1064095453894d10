"""The one trainer. A component fills in three methods; everything else is an option or a hook with a default."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from bem_core.config import ExperimentConfig
from bem_core.errors import TrainingError
from bem_core.evaluation.modes import evaluation_mode
from bem_core.training import checks, parallel, saving, setup
from bem_core.training.batches import make_source
from bem_core.training.callbacks import Callback, running
from bem_core.training.distributed import join
from bem_core.training.evaluating import FirstBatches, agreed, judge_of, part_of, prefixed
from bem_core.training.finishing import finish, raise_interruption, summary
from bem_core.training.foreign import LegacyCheckpoint
from bem_core.training.guards import FiniteGuard
from bem_core.training.hooks import Hooks
from bem_core.training.loop import Loop
from bem_core.training.meter import Meter
from bem_core.training.optim import freeze, make_dual_optimizer, trained_parameters
from bem_core.training.peers import named_failures
from bem_core.training.precision import Precision
from bem_core.training.rollback import Rollback
from bem_core.training.schedules import warmup_steps
from bem_core.training.signals import StopSignals, protect_workers
from bem_core.training.state import Progress
from bem_core.training.step import Parts, Stepper
from bem_core.utils.device import pick_device
from bem_core.utils.seeding import rng_fence, seed_everything

_log = logging.getLogger(__name__)


class BaseTrainer(Hooks):
    """Trains a model as an experiment says.

    A subclass implements `_setup_model`, `_compute_loss` and `_evaluate`; the other methods of `Hooks` are for it to
    override.

    Args:
        config: An experiment, a mapping in the form of one, or the path of its file.
        output_dir: Folder of the run; by default ``output.output_dir``, or ``outputs/`` and the name.
        experiment_name: By default the name in the configuration.
        callbacks: Further ones, after those that the configuration asks for.

    Attributes:
        config: The experiment.
        output_dir: Folder of the run.
        checkpoints: Those of the run.
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
    #: What the files hold that the component's old trainer wrote; None where it had none. One that had several may set
    #: it on the object.
    legacy_checkpoint: LegacyCheckpoint | None = None

    optimizer: Optimizer
    scheduler: LRScheduler | None
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
        self.ranks = join(self.device, hardware.process_timeout_s)
        setup.check_hardware(hardware, self.device, self.ranks)
        checks.check_spread(self.config, self.ranks)
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
        self.epoch_rng = None
        self.resumed_rng: dict[str, Any] | None = None
        self.move = setup.mover(self.device)
        self._more_callbacks = callbacks
        self._resume: Path | str | None = None
        self._ready = self.owns_folder = False
        self._began: float | None = None
        self.saved_at = -1
        self.checkpoints = setup.checkpoint_folder(self.config, self.output_dir, self.judge.greater_is_better)

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
        with named_failures(self.ranks):
            self._set_up(train_dataloader, eval_dataloader)

    def _set_up(self, train_dataloader: Any, eval_dataloader: Any) -> None:
        training, hardware = self.config.training, self.config.hardware
        seed_everything(training.seed, training.deterministic)
        self.model = setup.place(self._setup_model(), self.config, self.device, self.ranks)
        freeze(self.model, training)
        if hardware.gradient_checkpointing:
            setup.checkpoint_activations(checks.modules_of(self._checkpointed_modules()))
        modules, dtype = checks.modules_of(self._sharded_modules(), "_sharded_modules"), self.precision.dtype
        self.wrapped_model = parallel.spread(self.model, hardware, self.device, self.ranks, modules, dtype)
        if train_dataloader is None:
            train_dataloader, made = checks.loaders_of(self._setup_dataloaders())
            eval_dataloader = made if eval_dataloader is None else eval_dataloader
        for loader in (train_dataloader, eval_dataloader):
            protect_workers(loader)
        self.source = make_source(self.config, train_dataloader, self._collect_rollout, self.ranks)
        checks.check_options(self.config, self.source, eval_dataloader is not None)
        total = setup.total_steps(self.config, self.source.num_batches)
        eval_dataloader = part_of(eval_dataloader, self.ranks, self.config.evaluation.sharded)
        self.eval_dataloader = FirstBatches.of(eval_dataloader, 1 if training.fast_dev_run else 0)
        self.optimizer = checks.optimizer_of(self._setup_optimizer(), self.model)
        length = setup.schedule_length(training, total, self.source.num_batches)
        self.scheduler = checks.scheduler_of(self._setup_scheduler(self.optimizer, length))
        self.dual = make_dual_optimizer(self.model, training.dual) if training.dual else None
        self.rollback = Rollback(training.rollback, self.model) if training.rollback else None
        trained = checks.optimized(trained_parameters(self.model, training.dual), self.optimizer)
        self.stepper = Stepper(self._parts(), training, trained, warmup_steps(training, length or 0))
        self.callbacks = setup.callbacks(self.config, self.output_dir, self.ranks, total, self._more_callbacks)
        # Only now, so that what was made before is the same on all ranks; dropout must not be.
        setup.reseed(training.seed, self.ranks)
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
            sync=parallel.sync(self.wrapped_model, self.ranks),
            sum=self.ranks.sum if self.ranks.spread else None,
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
        with named_failures(self.ranks):
            source, self._resume = self._resume, None
            if source is not None:
                saving.restore(self, source)
            with self.ranks.together():
                setup.begin_folder(self, self.owns_folder)
        self.owns_folder = True
        self.stop_reason = None
        self.model.train()
        named, closed = named_failures(self.ranks), closing(self.source)
        with named, self.signals, self.checkpoints, closed, self._clock(), running(self.callbacks, self):
            self.stop_reason = Loop(self).run()
            finish(self)
        raise_interruption(self)
        return summary(self)

    @contextmanager
    def _clock(self) -> Iterator[None]:
        self._began = time.monotonic()
        try:
            yield
        finally:
            self.progress.elapsed_s, self._began = self.elapsed_s(), None

    # Evaluation.

    def evaluate(self) -> dict[str, float]:
        """Evaluate, and leave everything as it was: modes, gradients; random generators unless ``eval_rng`` says so.

        Returns:
            The metrics of `_evaluate`, each name with ``eval_`` in front.

        Raises:
            TrainingError: There is no data for it, or a metric is no number.
        """
        if not self._ready:
            self.setup_training()
        if self.eval_dataloader is None:
            raise TrainingError("there is no evaluation data: setup_training got no eval_dataloader")
        with named_failures(self.ranks):
            fence = rng_fence() if self.config.training.eval_rng == "fenced" else nullcontext()
            with fence, evaluation_mode(self.model), torch.no_grad(), self.precision.autocast():
                metrics = prefixed(self._evaluate(self.eval_dataloader))
            return agreed(metrics, self.ranks, self.config.evaluation.sharded)

    def evaluate_and_judge(self) -> bool:
        """Evaluate as training does: write the metrics down; tell whether to save the model as the best so far."""
        metrics = self.evaluate()
        record = {"step": self.progress.step, "epoch": self.progress.epoch, **metrics}
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
        if not self._ready:
            self.setup_training()
        self.stepper.check_finite()
        self.saved_at = self.progress.step
        self.owns_folder = True
        with named_failures(self.ranks):
            path = saving.save(self, best)
        if path is not None:
            for callback in self.callbacks:
                callback.on_save(self, path)
        return path

    def load_checkpoint(self, path: Path | str) -> None:
        """Put the run back to a checkpoint, exactly.

        Args:
            path: A folder that `save_checkpoint` made, or a file of the component's old trainer.

        Raises:
            CheckpointError: It is damaged, or of another model (it lists keys and shapes).
        """
        if not self._ready:
            self.setup_training()
        with named_failures(self.ranks):
            saving.restore(self, Path(path))

    def resume_from(self, path: Path | str) -> None:
        """Let `train` go on from a checkpoint.

        Args:
            path: Its folder, a file of the component's old trainer, or ``auto`` for the newest one in the folder of the
                run that is whole; without any, `train` begins anew.

        Raises:
            CheckpointError: It is not there.
        """
        saving.check_source(self, path)
        self._resume = path

    # For the loop and callbacks.

    def begin_batches(self) -> Iterator[Any]:
        """Return the batches of this epoch that are left."""
        return checks.batches_of(self._batches(self.progress.batch), "_batches")

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
        self._tell(record)

    def write_metrics(self) -> None:
        """Write down those of the component's own metrics that ``logging.metrics_to_log`` names."""
        found = self._metrics()
        chosen = {name: float(found[name]) for name in self.config.logging.metrics_to_log if name in found}
        self._tell({"step": self.progress.step, "epoch": self.progress.epoch, **chosen})

    def _tell(self, record: dict[str, Any]) -> None:
        for callback in self.callbacks:
            callback.on_log(self, record)

    def counted(self) -> int:
        """Return the steps, or micro-steps, that ``training.max_steps`` counts."""
        return self.progress.micro_step if self.config.training.progress_unit == "micro_step" else self.progress.step

    def elapsed_s(self) -> float:
        """Return the seconds of training, in earlier processes too."""
        return self.progress.elapsed_s + (0.0 if self._began is None else time.monotonic() - self._began)

    @property
    def evaluated_at(self) -> int:
        """The step of the last evaluation; -1 before the first."""
        return self.history[-1]["step"] if self.history else -1
