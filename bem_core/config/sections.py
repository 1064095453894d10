"""The sections of components, typed: each component declares a dataclass for what only it reads."""

from __future__ import annotations

import operator
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from bem_core.config.base_config import ExperimentConfig
from bem_core.config.config_loader import InvalidConfig
from bem_core.config.merge import Path, dotted
from bem_core.config.schema import Problem, Report, build
from bem_core.errors import ConfigError, nearest

T = TypeVar("T")


def read_section(config: ExperimentConfig, name: str, kind: type[T]) -> T:
    """Make a dataclass of a section that the schema leaves free.

    Args:
        config: The experiment.
        name: A section of a component, or a free mapping in another section, such as ``model.params``; one that the
            experiment does not have is empty.
        kind: The dataclass; its types are the schema.

    Raises:
        InvalidConfig: Keys or values are wrong; it has all of them, with their places.
    """
    return read_sections(config, {name: kind})[name]  # type: ignore[no-any-return]


def read_sections(config: ExperimentConfig, kinds: Mapping[str, type[Any]]) -> dict[str, Any]:
    """Do what `read_section` does for several, and report what is wrong in all of them at once."""
    report = Report()
    made = {name: build(kind, _section(config, name), tuple(name.split(".")), report) for name, kind in kinds.items()}
    if report.problems:
        source = config.name or "the configuration"
        raise InvalidConfig(source, [_line(config, problem) for problem in report.problems])
    return made


def check_sections(config: ExperimentConfig, known: Sequence[str]) -> None:
    """Refuse a section that neither the schema nor the component has.

    Raises:
        InvalidConfig: There are some; it has all of them.
    """
    unknown = [name for name in config.components if name not in known]
    if unknown:
        listed = ", ".join(sorted(known)) or "none"
        ends = [f"unknown section{nearest(name, known) or f'; there are {listed}'}" for name in unknown]
        lines = [f"{place(config, name)}: {name}: {end}" for name, end in zip(unknown, ends, strict=True)]
        raise InvalidConfig(config.name or "the configuration", lines)


def loss_weights(config: ExperimentConfig, terms: Mapping[str, float]) -> dict[str, float]:
    """Return the weight of each term of a loss: the one in ``training.loss_weights``, or its own.

    Args:
        config: The experiment.
        terms: Weights by default, by name.

    Raises:
        InvalidConfig: The experiment weighs terms that the loss has not; all are named.
    """
    given = config.training.loss_weights
    lines = []
    for name in [name for name in given if name not in terms]:
        hint = nearest(name, terms) or f"; there are {', '.join(terms)}"
        key = f"training.loss_weights.{name}"
        lines.append(f"{place(config, key)}: {key}: the loss has no such term{hint}")
    if lines:
        raise InvalidConfig(config.name or "the configuration", lines)
    return {**terms, **given}


def invalid(config: ExperimentConfig, key: str, message: str) -> ConfigError:
    """Return an error that names a key and the place where its value was written.

    Args:
        config: The experiment.
        key: Dotted.
        message: What was found and what was expected.
    """
    return ConfigError(f"{place(config, key)}: {key}: {message}")


def existing_file(config: ExperimentConfig, key: str) -> pathlib.Path | None:
    """Return the file that a key names; None where it names none.

    Args:
        config: The experiment.
        key: Dotted, such as ``data.train_file``.

    Raises:
        ConfigError: There is no such file.
    """
    found: str | None = operator.attrgetter(key)(config)
    if found is None:
        return None
    path = pathlib.Path(found)
    if not path.is_file():
        beside = sorted(map(str, path.parent.glob("*"))) if path.parent.is_dir() else []
        raise invalid(config, key, f"expected a file, found none at {found!r}{nearest(str(path), beside)}")
    return path


def place(config: ExperimentConfig, key: str) -> str:
    """Return ``path:line:column`` of a dotted key, of what is nearest to it, or the name of the experiment."""
    parts = key.split(".")
    for length in range(len(parts), 0, -1):
        start = ".".join(parts[:length])
        if start in config.sources:
            return config.sources[start]
        below = next((where for leaf, where in config.sources.items() if leaf.startswith(f"{start}.")), None)
        if below is not None:
            return below
    return config.name or "the configuration"


def _section(config: ExperimentConfig, name: str) -> dict[str, Any]:
    first, *rest = name.split(".")
    found: Any = config.components.get(first, {}) if not rest else getattr(config, first)
    for part in rest:
        found = found.get(part, {}) if isinstance(found, dict) else getattr(found, part)
    return dict(found or {})


def _line(config: ExperimentConfig, problem: Problem) -> str:
    where: Path = problem.path
    return f"{place(config, dotted(where))}: {dotted(where)}: {problem.message}"
