"""How a trainer is put together: configuration, folder, device, model, callbacks."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from torch import nn
from torch.optim import Optimizer
from torch.utils.checkpoint import checkpoint

from bem_core.config import ExperimentConfig, experiment_from_mapping, load_experiment_config
from bem_core.config.base_config import HardwareConfig
from bem_core.config.training_config import TrainingConfig
from bem_core.errors import ConfigError
from bem_core.training import run_folder
from bem_core.training.callbacks import Callback, LogLines, MetricsFile, Profiler, ProgressBar, Timing, shows_progress
from bem_core.training.checkpoint import CheckpointFolder
from bem_core.training.distributed import Ranks
from bem_core.training.legacy_options import with_legacy_options
from bem_core.training.meter import Meter
from bem_core.training.trackers import TensorBoard, WeightsAndBiases
from bem_core.utils.device import move
from bem_core.utils.seeding import sample_seed, seed_everything

if TYPE_CHECKING:
    from bem_core.training.base_trainer import BaseTrainer

_log = logging.getLogger(__name__)


def read_config(
    config: object,
    name: str | None,
    component: str,
    legacy: Mapping[str, Any],
) -> ExperimentConfig:
    """Return the experiment that a trainer was given in one form or another.

    Raises:
        ConfigError: It is not valid.
    """
    if isinstance(config, str | Path):
        config = load_experiment_config(config)
    elif isinstance(config, Mapping):
        config = experiment_from_mapping(config)
    elif not isinstance(config, ExperimentConfig):
        found = "None" if config is None else type(config).__name__
        raise ConfigError(f"{component}: expected an experiment, a mapping or the path of a file, got {found}")
    named = dataclasses.replace(config, name=name or config.name or component)
    return with_legacy_options(named, legacy, component)


def output_dir(config: ExperimentConfig, given: Path | str | None) -> Path:
    """Return the folder of a run."""
    return Path(given or config.output.output_dir or Path("outputs") / str(config.name))


def local_index(hardware: HardwareConfig) -> int:
    """Return the number of the CUDA device of this process."""
    rank = max(int(os.environ.get("LOCAL_RANK", hardware.local_rank)), 0)
    # Asking for names starts CUDA, so only where they matter.
    count = torch.cuda.device_count() if hardware.preferred_gpu else 0
    names = [torch.cuda.get_device_name(one) for one in range(count)]
    return choose_gpu(hardware, names, rank)


def choose_gpu(hardware: HardwareConfig, names: list[str], rank: int) -> int:
    """Return the device of a process: among ``gpu_ids``, else those that ``preferred_gpu`` names, else all.

    Args:
        hardware: The options.
        names: Of all devices.
        rank: Number of the process on this machine.
    """
    wanted = (hardware.preferred_gpu or "").lower()
    preferred = [number for number, name in enumerate(names) if wanted and wanted in name.lower()]
    chosen = hardware.gpu_ids or preferred
    return chosen[rank % len(chosen)] if chosen else rank


def check_hardware(hardware: HardwareConfig, device: torch.device, ranks: Ranks) -> None:
    """See that the machine is what the experiment asks for, and set the switches of torch.

    Raises:
        ConfigError: It is not.
    """
    if hardware.distributed and not ranks.spread:
        raise ConfigError("hardware.distributed: there is one process only; start it with torchrun --nproc-per-node N")
    if device.type == "cuda":
        found = torch.cuda.get_device_properties(device)
        check_gpu(hardware, found.name, found.total_memory / 1e9, torch.version.cuda)
        torch.backends.cuda.matmul.allow_tf32 = hardware.tf32
        torch.backends.cudnn.allow_tf32 = hardware.tf32


def check_gpu(hardware: HardwareConfig, name: str, memory_gb: float, version: str | None) -> None:
    """See that a GPU is what the experiment asks for.

    Args:
        hardware: What it asks for.
        name: Of the device.
        memory_gb: Of the device.
        version: Of CUDA; None where torch was built for something else.

    Raises:
        ConfigError: It is not.
    """
    if hardware.min_gpu_memory_gb and memory_gb < hardware.min_gpu_memory_gb:
        wanted = f"expected at least {hardware.min_gpu_memory_gb} GB"
        raise ConfigError(f"hardware.min_gpu_memory_gb: {wanted}, {name} has {memory_gb:.1f} GB")
    if hardware.cuda_version is None:
        return
    try:
        wanted_versions = SpecifierSet(hardware.cuda_version)
    except InvalidSpecifier as error:
        raise ConfigError(f"hardware.cuda_version: expected something like '>=12.1': {error}") from error
    if version is None or version not in wanted_versions:
        raise ConfigError(f"hardware.cuda_version: expected {hardware.cuda_version}, torch has CUDA {version}")


def mover(device: torch.device) -> Callable[[Any], Any] | None:
    """Return what brings a batch to the device; None where loaders make batches on it anyway."""
    return None if device.type == "cpu" else partial(move, device=device)


def checkpoint_folder(config: ExperimentConfig, folder: Path, greater_is_better: bool) -> CheckpointFolder:
    """Return the checkpoints of a run."""
    return CheckpointFolder(
        folder / run_folder.CHECKPOINTS,
        template=config.output.checkpoint_name,
        keep_last=config.output.save_total_limit,
        best_mode="max" if greater_is_better else "min",
        asynchronous=config.output.async_save,
    )


def place(model: Any, config: ExperimentConfig, device: torch.device, ranks: Ranks) -> nn.Module:
    """Return the model on its device; one that is to be sharded goes there in parts, because it may be too large.

    Raises:
        ConfigError: `_setup_model` returned something else.
    """
    if not isinstance(model, nn.Module):
        raise ConfigError(f"_setup_model: expected a torch.nn.Module, got {type(model).__name__}")
    return model if ranks.spread and config.hardware.parallel == "fsdp" else model.to(device)


def repeated_modules(model: nn.Module) -> list[nn.Module]:
    """Return the members of all lists of modules, which is how the layers of most models are kept; not those inside."""
    found: list[nn.Module] = []
    inner: set[int] = set()
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and id(module) not in inner:
            found += list(module)
            inner.update(id(below) for member in module for below in member.modules())
    return found


def checkpoint_activations(modules: list[nn.Module]) -> None:
    """Let modules compute their activations again in the backward pass instead of keeping them.

    Raises:
        ConfigError: There are none.
    """
    if not modules:
        raise ConfigError(
            "hardware.gradient_checkpointing: the model keeps no layers in a ModuleList; "
            "override _checkpointed_modules to say which ones to compute again"
        )
    for module in modules:
        module.forward = partial(_again, module, module.forward)


def _again(module: nn.Module, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if module.training and torch.is_grad_enabled():
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)
    return forward(*args, **kwargs)


def total_steps(config: ExperimentConfig, num_batches: int | None) -> int | None:
    """Return the steps of a run in the unit that ``max_steps`` counts; None where its end is not known.

    Raises:
        ConfigError: Nothing says when to end.
    """
    training = config.training
    size = training.gradient_accumulation_steps
    if training.fast_dev_run:
        return training.fast_dev_run
    if training.max_steps is None and training.max_epochs is None and training.max_time_s is None:
        raise ConfigError("training: nothing says when to end; set max_steps, max_epochs or max_time_s")
    by_epochs = None
    if training.max_epochs is not None and num_batches is not None:
        steps = num_batches // size if training.last_window == "drop" else -(-num_batches // size)
        by_epochs = training.max_epochs * (num_batches if training.progress_unit == "micro_step" else steps)
    ends = [end for end in (training.max_steps, by_epochs) if end is not None]
    return min(ends) if ends else None


def schedule_length(training: TrainingConfig, total: int | None, num_batches: int | None) -> int | None:
    """Return how often the learning rate changes in a run: its steps, or its epochs where it changes after these."""
    if training.scheduler_interval != "epoch" or total is None:
        return total
    if num_batches is None:
        return training.max_epochs
    per_epoch = num_batches
    if training.progress_unit == "step":
        size = training.gradient_accumulation_steps
        per_epoch = num_batches // size if training.last_window == "drop" else -(-num_batches // size)
    return -(-total // per_epoch)


def callbacks(
    config: ExperimentConfig, folder: Path, ranks: Ranks, total: int | None, more: Sequence[Callback] = ()
) -> list[Callback]:
    """Return the callbacks that an experiment asks for, and more after them; none on ranks that do not write.

    Raises:
        ConfigError: A package that one of them needs is not installed.
    """
    if not ranks.is_main:
        return []
    chosen = config.logging
    found: list[Callback] = [LogLines()]
    if chosen.progress_bar and shows_progress():
        found.append(ProgressBar(total))
    if config.training.fast_dev_run:
        return [*found, *more]
    if chosen.export_formats:
        found.append(MetricsFile(folder, list(chosen.export_formats)))
    found.append(Timing(folder))
    if chosen.tensorboard_enabled:
        found.append(TensorBoard(Path(chosen.log_dir) if chosen.log_dir else folder / "tensorboard"))
    if chosen.wandb_enabled:
        found.append(WeightsAndBiases(config, folder))
    if chosen.mlflow_enabled:
        _log.warning("logging.mlflow_enabled: there is no callback for MLflow; pass one to the trainer")
    if chosen.profile_steps:
        found.append(Profiler(folder, chosen.profile_steps, total))
    return [*found, *more]


def reseed(seed: int, ranks: Ranks) -> None:
    """Give each rank random numbers of its own; the first one goes on with those of a run with one process."""
    if ranks.rank:
        seed_everything(sample_seed(seed, ranks.rank, 0))


def begin_folder(trainer: BaseTrainer, owned: bool) -> None:
    """Make the folder of a run, and write down what it is made with; a trial run has none.

    Args:
        trainer: With its checkpoint loaded.
        owned: Whether what is in the folder belongs to this run.

    Raises:
        TrainingError: There is another run in it, or it cannot be written to.
    """
    if not trainer.ranks.is_main or trainer.config.training.fast_dev_run:
        return
    if not owned:
        run_folder.check_unused(trainer.output_dir)
    run = {
        "component": f"{type(trainer).__module__}.{type(trainer).__qualname__}",
        "seed": trainer.config.training.seed,
        "device": str(trainer.device),
        "processes": trainer.ranks.world,
    }
    run_folder.write_description(trainer.output_dir, trainer.config, run)


def mean_losses(meter: Meter, ranks: Ranks) -> dict[str, float]:
    """Return the mean of each loss over the steps since the last time and over the ranks."""
    totals = meter.totals()
    meter.reset()
    numbers = ranks.sum_numbers([total / count for total, count in totals.values()])
    return {name: number / ranks.world for name, number in zip(totals, numbers, strict=True)}


def learning_rates(optimizer: Optimizer) -> dict[str, float]:
    """Return ``lr``, and ``lr/<group>`` for each group where they differ."""
    rates = {str(group.get("name", number)): float(group["lr"]) for number, group in enumerate(optimizer.param_groups)}
    first = next(iter(rates.values()))
    return {"lr": first} | (
        {f"lr/{name}": rate for name, rate in rates.items()} if len(set(rates.values())) > 1 else {}
    )
