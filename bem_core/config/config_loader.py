"""An experiment file to a typed experiment."""

from __future__ import annotations

import dataclasses
import difflib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from bem_core.config.base_config import ExperimentConfig
from bem_core.config.findings import Finding
from bem_core.config.legacy import legacy_layer
from bem_core.config.legacy_names import COMPONENTS
from bem_core.config.merge import DEFAULT, Directives, dotted
from bem_core.config.merge import Path as KeyPath
from bem_core.config.overrides import apply_overrides
from bem_core.config.resolver import Layer, OnDangling, Resolved, Resolver, holder, resolve
from bem_core.config.schema import NUMBER_TEXT, Problem, Report, build, field_types, plain_number
from bem_core.errors import ConfigError

__all__ = ["InvalidConfig", "Resolved", "Resolver", "experiment_from_mapping", "load_experiment_config", "resolve"]

_log = logging.getLogger(__name__)
# Fields of ExperimentConfig that are no keys of a file.
_OWN = ("components", "findings", "sources")
# How alike a section must be to a declared one to be taken for a typing mistake.
_ALIKE = 0.8


class InvalidConfig(ConfigError):
    """An experiment that the schema does not allow.

    Attributes:
        problems: Everything that is wrong, a line each.
    """

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        head = [f"{len(problems)} problems in {source}"] if len(problems) > 1 else []
        super().__init__("\n".join([*head, *problems]))
        self.problems = tuple(problems)


def load_experiment_config(
    path: Path | str,
    overrides: Iterable[str] = (),
    *,
    root: Path | None = None,
    template_dirs: Sequence[Path] | None = None,
    on_dangling: OnDangling = "error",
    directives: Directives = DEFAULT,
) -> ExperimentConfig:
    """Load an experiment: its file on its bases, overrides on top, every key and value checked.

    Legacy names are accepted; they, and numbers that YAML 1.1 reads as texts in free sections, are in
    ``findings`` of the result; the log has a warning that counts them, and each at level INFO.

    Args:
        path: The file.
        overrides: ``dotted.key=value`` each, the later ones on top.
        root: The repository that bases must be in; by default the one that holds the file.
        template_dirs: Where ``templates/...`` is looked up last; by default the shipped templates.
        on_dangling: ``drop`` leaves a base out, with a finding, that does not exist; it is for files whose program
            never read their bases.
        directives: Names of the directives.

    Raises:
        InvalidConfig: Keys or values are wrong; it has all of them.
        ConfigError: A file cannot be read, its bases cannot be applied, or an override is not one.
    """
    resolver = Resolver(root, template_dirs, directives, on_dangling, legacy_layer)
    resolved = resolver.resolve(Path(path))
    data, extra = apply_overrides(resolved.data, overrides, directives)
    layers = [*resolved.layers, *extra]
    report = Report()
    config = _experiment(data, report)
    problems = [line for layer in layers for line in layer.problems]
    problems += [_line(problem, layers) for problem in report.problems]
    if problems:
        raise InvalidConfig(str(path), problems)
    found = [*resolved.findings, *(one for layer in extra for one in layer.findings)]
    found += [one for start in report.free for one in _numbers_as_text(data, start, layers)]
    for finding in found:
        _log.info("%s", finding)
    if found:
        _log.warning("%s: %d things to look at, the first: %s", path, len(found), found[0])
    sources = {dotted(leaf): str(holder(layers, leaf).locate(leaf)) for leaf in _leaves(data)}
    return dataclasses.replace(config, name=config.name or Path(path).stem, findings=tuple(found), sources=sources)


def experiment_from_mapping(data: Mapping[str, Any], source: str = "the configuration") -> ExperimentConfig:
    """Make an experiment of plain data, such as `ExperimentConfig.to_dict` gives, with the checks of files.

    Args:
        data: Sections and keys under the names of the schema; there are no bases and no legacy names.
        source: What an error calls it.

    Raises:
        InvalidConfig: Keys or values are wrong; it has all of them.
    """
    report = Report()
    config = _experiment(dict(data), report)
    if report.problems:
        raise InvalidConfig(source, [f"{source}: {dotted(one.path)}: {one.message}" for one in report.problems])
    return dataclasses.replace(config, sources={dotted(leaf): source for leaf in _leaves(dict(data))})


def _leaves(data: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    if isinstance(data, dict) and (data or not path):
        for key, value in data.items():
            yield from _leaves(value, (*path, key))
    else:
        yield path


def _experiment(data: dict[Any, Any], report: Report) -> ExperimentConfig:
    """Build the experiment; a mapping that the schema does not know is the section of a component."""
    declared = [name for name in field_types(ExperimentConfig) if name not in _OWN]
    known, components = {}, {}
    for key, value in data.items():
        if key in declared or not isinstance(key, str) or not isinstance(value, dict):
            known[key] = value
        elif key not in COMPONENTS and (alike := difflib.get_close_matches(key, declared, 1, _ALIKE)):
            message = f"unknown section; did you mean {alike[0]!r}?"
            report.problems.append(Problem((key,), message, key=True))
        else:
            components[key] = value
            report.free.append((key,))
    config = build(ExperimentConfig, known, (), report, without=_OWN)
    return dataclasses.replace(config, components=components)


def _line(problem: Problem, layers: Sequence[Layer]) -> str:
    where = holder(layers, problem.path).locate(problem.path, problem.key)
    return f"{where}: {dotted(problem.path)}: {problem.message}"


def _numbers_as_text(data: Any, start: KeyPath, layers: Sequence[Layer]) -> Iterator[Finding]:
    """Yield a finding for each text below ``start`` that only YAML 1.1 does not take for a number."""
    for part in start:
        data = data[part]
    for path, text in _texts(data, start):
        layer = holder(layers, path)
        node = layer.node(path)
        if isinstance(node, yaml.ScalarNode) and node.style:
            continue
        message = f"{text!r} is a text in YAML 1.1 and a number in 1.2; write {plain_number(text)}, or use quotes"
        yield Finding(layer.locate(path), "number-as-text", dotted(path), message)


def _texts(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    if isinstance(value, str):
        if NUMBER_TEXT.fullmatch(value):
            yield path, value
    elif isinstance(value, dict):
        for key, below in value.items():
            yield from _texts(below, (*path, key))
    elif isinstance(value, list):
        for number, below in enumerate(value):
            yield from _texts(below, (*path, number))
