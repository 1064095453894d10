"""Which options go together, and what hooks must return: checked before training begins."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from bem_core.config import ExperimentConfig
from bem_core.errors import ConfigError, TrainingError

if TYPE_CHECKING:
    from bem_core.training.batches import Source
    from bem_core.training.distributed import Ranks

_log = logging.getLogger(__name__)


def check_options(config: ExperimentConfig, source: Source, has_eval: bool) -> None:
    """See that no option waits for something that never happens.

    Raises:
        ConfigError: One does; names it.
    """
    for problem in (*_never_due(config), *_without_evaluation(config, has_eval), *_without_epochs(config, source)):
        raise ConfigError(problem)
    size, count = config.training.gradient_accumulation_steps, source.num_batches
    if count is not None and count < size:
        few = f"training.gradient_accumulation_steps: a step takes {size} batches, and an epoch has only {count}"
        if config.training.last_window == "drop":
            raise ConfigError(f"{few}; with last_window: drop there would be no step at all")
        _log.warning("%s, so each epoch is one step", few)


def check_spread(config: ExperimentConfig, ranks: Ranks) -> None:
    """See that the options of an experiment go with several processes, and those for several with each other.

    Raises:
        ConfigError: They do not.
    """
    hardware, training = config.hardware, config.training
    if hardware.cpu_offload and hardware.parallel != "fsdp":
        raise ConfigError("hardware.cpu_offload: needs hardware.parallel: fsdp, which is what moves parameters about")
    if config.output.checkpoint_format == "sharded" and config.output.async_save:
        raise ConfigError("output.async_save: does not work with output.checkpoint_format: sharded")
    if not ranks.spread:
        return
    if hardware.parallel == "fsdp" and training.optimizer == "adafactor":
        raise ConfigError("training.optimizer: adafactor of torch does not work with hardware.parallel: fsdp")
    if training.clip_interval == "micro_step" and training.gradient_accumulation_steps > 1:
        raise ConfigError(
            "training.clip_interval: micro_step does not work with several processes and "
            "training.gradient_accumulation_steps, where gradients are exchanged after the last micro-batch only"
        )


def _never_due(config: ExperimentConfig) -> Iterator[str]:
    training = config.training
    if training.eval_strategy == "time" and training.eval_interval_s is None:
        yield "training.eval_strategy: time needs training.eval_interval_s"
    if training.save_strategy == "time" and training.save_interval_s is None:
        yield "training.save_strategy: time needs training.save_interval_s"
    if config.output.load_best_model_at_end and training.save_strategy == "no":
        yield "output.load_best_model_at_end: nothing is saved with training.save_strategy: no"


def _without_evaluation(config: ExperimentConfig, has_eval: bool) -> Iterator[str]:
    if has_eval and config.training.eval_strategy != "no":
        return
    reason = "there is no evaluation data" if not has_eval else "nothing is evaluated with training.eval_strategy: no"
    if config.output.load_best_model_at_end:
        yield f"output.load_best_model_at_end: {reason}"
    if config.training.early_stopping_patience is not None:
        yield f"training.early_stopping_patience: {reason}"


def _without_epochs(config: ExperimentConfig, source: Source) -> Iterator[str]:
    training = config.training
    if not source.endless:
        return
    wants = {
        "eval_strategy": training.eval_strategy == "epoch",
        "save_strategy": training.save_strategy == "epoch",
        "scheduler_interval": training.scheduler_interval == "epoch",
        "max_epochs": training.max_epochs is not None,
    }
    for name in (name for name, wanted in wants.items() if wanted):
        yield f"training.{name}: training.batch_source: {training.batch_source} has no epochs"


def loaders_of(returned: Any) -> tuple[Any, Any]:
    """Return the two loaders that `_setup_dataloaders` made.

    Raises:
        TrainingError: It returned something else.
    """
    if not isinstance(returned, tuple | list) or len(returned) != 2:
        raise TrainingError(f"_setup_dataloaders: expected two loaders, got {_type(returned)}")
    return returned[0], returned[1]


def modules_of(returned: Any, hook: str = "_checkpointed_modules") -> list[nn.Module]:
    """Return the modules that a hook named, each once.

    Raises:
        TrainingError: It returned something else.
    """
    if not isinstance(returned, Iterable):
        raise TrainingError(f"{hook}: expected a list of modules, got {_type(returned)}")
    modules = list(dict.fromkeys(returned))
    for one in modules:
        if not isinstance(one, nn.Module):
            raise TrainingError(f"{hook}: expected modules, got {_type(one)}")
    return modules


def optimizer_of(returned: Any, model: nn.Module) -> Optimizer:
    """Return the optimizer that `_setup_optimizer` made.

    Raises:
        TrainingError: It is none, or has parameters that are not the model's, which no checkpoint would hold.
    """
    if not isinstance(returned, Optimizer):
        raise TrainingError(f"_setup_optimizer: expected a torch.optim.Optimizer, got {_type(returned)}")
    known = {id(parameter) for parameter in model.parameters()}
    for number, group in enumerate(returned.param_groups):
        for parameter in group["params"]:
            if id(parameter) not in known:
                shape = list(parameter.shape)
                raise TrainingError(f"_setup_optimizer: group {number} has a parameter {shape} that is not the model's")
    return returned


def scheduler_of(returned: Any) -> LRScheduler | None:
    """Return the scheduler that `_setup_scheduler` made.

    Raises:
        TrainingError: It is none that steps without a metric.
    """
    if isinstance(returned, ReduceLROnPlateau):
        raise TrainingError("_setup_scheduler: ReduceLROnPlateau needs a metric; step it in a callback's on_evaluate")
    if returned is not None and not isinstance(returned, LRScheduler):
        raise TrainingError(f"_setup_scheduler: expected a scheduler of torch or None, got {_type(returned)}")
    return returned


def optimized(trained: dict[str, nn.Parameter], optimizer: Optimizer) -> dict[str, nn.Parameter]:
    """Return the parameters that an optimizer has; a warning names those that nothing will change."""
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    left = [name for name, parameter in trained.items() if id(parameter) not in held]
    if left:
        more = f" and {len(left) - 1} more" if len(left) > 1 else ""
        _log.warning("the optimizer does not have %s%s, although gradients are computed for it", left[0], more)
    return {name: parameter for name, parameter in trained.items() if id(parameter) in held}


def batches_of(returned: Any, hook: str) -> Iterator[Any]:
    """Return an iterator over what a hook gave.

    Raises:
        TrainingError: It gave nothing to iterate over.
    """
    if not isinstance(returned, Iterable):
        raise TrainingError(f"{hook}: expected batches, got {_type(returned)}")
    return iter(returned)


def weight_of(returned: Any) -> float:
    """Return what `_loss_weight` gave.

    Raises:
        TrainingError: It is no number from 0 on.
    """
    try:
        weight = float(returned)
    except (TypeError, ValueError):
        weight = math.nan
    if not 0 <= weight < math.inf:
        raise TrainingError(f"_loss_weight: expected a number of at least 0, got {returned!r:.80}")
    return weight


def state_of(returned: Any) -> dict[str, Any]:
    """Return what `_state` gave.

    Raises:
        TrainingError: It is no mapping.
    """
    if not isinstance(returned, Mapping):
        raise TrainingError(f"_state: expected a mapping, got {_type(returned)}")
    return dict(returned)


def _type(value: Any) -> str:
    return "None" if value is None else type(value).__name__
