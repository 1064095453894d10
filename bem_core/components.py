"""Which trainer runs an experiment: found among installed packages, so that nothing here imports a component."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from importlib import metadata
from typing import TYPE_CHECKING

from bem_core.config.base_config import ExperimentConfig
from bem_core.errors import ConfigError, nearest

if TYPE_CHECKING:
    from bem_core.training.base_trainer import BaseTrainer

GROUP = "bem_core.components"


class ComponentError(ConfigError):
    """No trainer can be found for an experiment, or what was found is none."""


def find_entry(experiment_type: str) -> metadata.EntryPoint:
    """Return the entry point whose name is the type of an experiment; nothing is imported.

    Raises:
        ComponentError: There is none, or several packages have one.
    """
    entries = list(metadata.entry_points(group=GROUP))
    found = {one.value: one for one in entries if one.name == experiment_type}
    if len(found) > 1:
        which = ", ".join(f"{one.value} of {_distribution(one)}" for one in found.values())
        raise ComponentError(f"experiment_type: {experiment_type!r} is served by several packages: {which}")
    if not found:
        names = sorted({one.name for one in entries})
        raise ComponentError(
            f"experiment_type: no component is called {experiment_type!r}{nearest(experiment_type, names)}; "
            f"installed: {_listed(entries)}; a component is an entry point of the group {GROUP!r}, "
            "or is given with --trainer package.module:Class"
        )
    return next(iter(found.values()))


def _listed(entries: Iterable[metadata.EntryPoint]) -> str:
    return ", ".join(sorted({f"{one.name} ({_distribution(one)})" for one in entries})) or "none"


def _distribution(entry: metadata.EntryPoint) -> str:
    return entry.dist.name if entry.dist else "an unknown package"


def find_trainer(config: ExperimentConfig, given: str | None = None) -> type[BaseTrainer]:
    """Import the trainer of an experiment.

    Args:
        config: ``experiment_type`` is the name of the entry point; what ``variant_id`` means is up to the component.
        given: ``package.module:Class``, which goes before what the experiment says.

    Raises:
        ComponentError: There is none, it cannot be imported, or it is no trainer.
    """
    if given is not None:
        entry, where = metadata.EntryPoint("", given, GROUP), f"--trainer {given}"
    else:
        entry = find_entry(config.experiment_type)
        where = f"component {entry.name!r} of {_distribution(entry)} ({entry.value})"
    return _load(entry.value, where)


def _load(target: str, where: str) -> type[BaseTrainer]:
    name, _, attribute = target.partition(":")
    if not name or not attribute:
        raise ComponentError(f"{where}: expected package.module:Class")
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name == missing or name.startswith(f"{missing}."):
            raise ComponentError(f"{where}: there is no module {missing!r}") from error
        raise ComponentError(f"{where}: it needs the module {missing!r}, which is not installed") from error
    if not hasattr(module, attribute):
        raise ComponentError(f"{where}: {name} has no {attribute!r}{nearest(attribute, dir(module))}")
    return _checked(getattr(module, attribute), where)


def _checked(found: object, where: str) -> type[BaseTrainer]:
    from bem_core.training.base_trainer import BaseTrainer

    if not isinstance(found, type) or not issubclass(found, BaseTrainer):
        raise ComponentError(f"{where}: expected a subclass of bem_core.training.base_trainer.BaseTrainer")
    lacking = sorted(getattr(found, "__abstractmethods__", ()))
    if lacking:
        raise ComponentError(f"{where}: {found.__name__} lacks {', '.join(lacking)}")
    return found
