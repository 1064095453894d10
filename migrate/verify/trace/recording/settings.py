"""What the traced process is told, in one variable of the environment."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

VARIABLE = "BEM_MIGRATE_TRACE"
LEVELS = ("light", "full", "deep")
# What a kernel that cannot be deterministic does; or it is left to the program whether any has to be.
DETERMINISM = ("error", "warn", "none")


@dataclass(slots=True)
class Settings:
    """How a run is recorded.

    Attributes:
        out: The file of the trace, absolute; other ranks and processes add to its name.
        level: One of `LEVELS`.
        window: First step and end of what is recorded; None for all.
        stop_after: End the program after so many steps; 0 for never.
        states_every: Save the full state after each so many steps; 0 for never.
        states: Folder for them.
        values: Folder for the outputs of modules and their gradients in one step, at level ``deep``; empty for none.
        values_of: That step.
        inject: Folder of states of another run that are put into this one after each step; None for none.
        names: Names of tensors in those states, and what they are called here, where that is something else.
        expect: Hooks that must fire besides those that always must.
        metrics: Functions whose results are recorded as metrics, as ``module:qualified.name``.
        saves: Functions that save checkpoints, as ``module:qualified.name`` or ``module:qualified.name:argument``.
        determinism: One of `DETERMINISM`.
        command: What is run, for the header.
        tool: Version of this project.
        launcher: Process that waits for the command and adds how it ended; 0 if there is none.
    """

    out: str
    level: str = "light"
    window: tuple[int, int] | None = None
    stop_after: int = 0
    states_every: int = 0
    states: str = ""
    values: str = ""
    values_of: int = 0
    inject: str | None = None
    names: dict[str, str] = field(default_factory=dict)
    expect: list[str] = field(default_factory=list)
    metrics: list[str] = field(default_factory=list)
    saves: list[str] = field(default_factory=list)
    determinism: str = "none"
    command: list[str] = field(default_factory=list)
    tool: str = ""
    launcher: int = 0

    def dumps(self) -> str:
        """Return the settings as text."""
        return json.dumps(asdict(self))

    @classmethod
    def loads(cls, text: str) -> Settings:
        """Return the settings that `dumps` wrote."""
        values = json.loads(text)
        if values["window"] is not None:
            values["window"] = tuple(values["window"])
        return cls(**values)


# NumPy loads it when it is first used.
NUMPY_RANDOM = "numpy.random"
# Functions of libraries that save checkpoints, and the argument that has what is saved.
SAVES = (
    "bem_core.training.checkpoint_folder:CheckpointFolder.save:tree",
    "bem_core.training.checkpoint_store:save_tree:tree",
    "safetensors.numpy:save:tensor_dict",
    "safetensors.numpy:save_file:tensor_dict",
    "safetensors.torch:save:tensors",
    "safetensors.torch:save_file:tensors",
    "safetensors.torch:save_model:model",
    "torch.distributed.checkpoint.state_dict_saver:async_save:state_dict",
    "torch.distributed.checkpoint.state_dict_saver:save:state_dict",
)


def watched_modules(settings: Settings) -> list[str]:
    """Return the modules that have functions to be wrapped, besides those that torch loads."""
    draws = [NUMPY_RANDOM] if settings.level == "deep" else []
    return [*draws, *by_module([*settings.metrics, *settings.saves, *SAVES])]


def by_module(names: list[str]) -> dict[str, list[str]]:
    """Return the functions of each module, of names such as ``package.module:Class.method``."""
    found: dict[str, list[str]] = {}
    for name in names:
        module, _, function = name.partition(":")
        found.setdefault(module, []).append(function)
    return found
