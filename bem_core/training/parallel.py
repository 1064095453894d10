"""How a model is spread over the ranks: copied to each (DDP), or its parameters sharded (FSDP2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import nn

from bem_core.config.base_config import HardwareConfig
from bem_core.errors import TrainingError
from bem_core.training.distributed import Ranks

Sync = Callable[[bool], AbstractContextManager[Any]]


def spread(
    model: nn.Module, config: HardwareConfig, device: torch.device, ranks: Ranks, modules: list[nn.Module], dtype: Any
) -> nn.Module:
    """Return what to call for a forward pass: the model compiled, and spread over the ranks.

    Args:
        model: On the device, unless it is to be sharded: then each module goes there when it is.
        config: The options.
        device: Of this process.
        ranks: The processes.
        modules: Those that are gathered and freed one after the other where the model is sharded.
        dtype: What parameters are gathered in where the model is sharded; None for their own type.
    """
    if ranks.spread and config.parallel == "fsdp":
        return _shard(model, config, device, ranks, modules, dtype)
    if config.compile_model:
        # Before it is copied: then torch splits the graph where buckets of gradients end, and evaluation is compiled.
        model = compiled(model)
    if not ranks.spread:
        return model
    ids = [device.index] if device.type == "cuda" else None
    return nn.parallel.DistributedDataParallel(
        model, device_ids=ids, find_unused_parameters=config.find_unused_parameters
    )


def compiled(model: nn.Module) -> nn.Module:
    """Return what to call in place of a model: itself where it can be compiled in place."""
    if type(model).__module__.startswith("torch."):
        # `Module.compile` does nothing for classes of torch itself, such as `nn.Sequential`: it skips their frames.
        return cast("nn.Module", torch.compile(model))
    model.compile()
    return model


def _shard(
    model: nn.Module, config: HardwareConfig, device: torch.device, ranks: Ranks, modules: list[nn.Module], dtype: Any
) -> nn.Module:
    # Most runs do not need it, and it takes long to import.
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, OffloadPolicy, fully_shard

    for tensor in [*model.parameters(), *model.buffers()]:
        dist.broadcast(tensor.detach(), 0)
    offload = CPUOffloadPolicy(pin_memory=device.type == "cuda") if config.cpu_offload else OffloadPolicy()
    options: dict[str, Any] = {
        "mesh": init_device_mesh(device.type, (ranks.world,)),
        "mp_policy": MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32 if dtype else None),
        "offload_policy": offload,
    }
    chosen = [one for one in modules if _can_be_sharded(one)]
    if config.compile_model:
        # Each module by itself and before it is sharded, so that what gathers and frees stays outside of the graphs.
        for module in chosen or [model]:
            module.compile()
    for module in chosen:
        fully_shard(module, **options)
    # In place: the model itself is what to call.
    fully_shard(model, **options)
    return model


def _can_be_sharded(module: nn.Module) -> bool:
    return not isinstance(module, nn.ModuleList | nn.ModuleDict) and any(True for _ in module.parameters())


def sync(wrapped: nn.Module, ranks: Ranks) -> Sync | None:
    """Return the contexts of the micro-batches of a step, given whether it is the last one; None for one process.

    Gradients are exchanged for the last micro-batch only.
    """
    if not ranks.spread:
        return None
    return _sharded(wrapped) if is_sharded(wrapped) else CopiedSync(wrapped)


def is_sharded(model: nn.Module) -> bool:
    """Tell whether the parameters of a model are sharded over ranks."""
    return hasattr(model, "set_requires_gradient_sync")


def _sharded(model: Any) -> Sync:
    def switch(last: bool) -> AbstractContextManager[Any]:
        model.set_requires_gradient_sync(last)
        return nullcontext()

    return switch


class CopiedSync:
    """Exchanges the gradients of copies, and sees that the forward pass went through what exchanges them.

    Args:
        model: A `DistributedDataParallel`.
    """

    def __init__(self, model: Any) -> None:
        self._model, self._calls = model, 0
        model.register_forward_pre_hook(self._count)

    def _count(self, module: nn.Module, inputs: Any) -> None:
        self._calls += 1

    @contextmanager
    def __call__(self, last: bool) -> Iterator[None]:
        """Surround a micro-batch.

        Raises:
            TrainingError: The component called another module, or left parameters out.
        """
        before = self._calls
        try:
            with nullcontext() if last else self._model.no_sync():
                yield
        except RuntimeError as error:
            if "finished reduction in the prior iteration" not in str(error):
                raise
            raise TrainingError(
                "parameters got no gradient, and other processes wait for it; train those that the loss depends on "
                "(training.trained), or set hardware.find_unused_parameters where they differ from step to step"
            ) from error
        if self._calls == before:
            raise TrainingError(
                "_forward did not call self.wrapped_model, so gradients would not be exchanged between processes; "
                "self.model is for evaluation"
            )
