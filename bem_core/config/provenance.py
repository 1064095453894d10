"""Where a value comes from: each place that sets or deletes it, and which of them won."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bem_core.config.base_config import ExperimentConfig
from bem_core.config.legacy import legacy_layer
from bem_core.config.legacy_names import RENAMED, SECTIONS
from bem_core.config.merge import DEFAULT, Directives, dotted
from bem_core.config.merge import Path as KeyPath
from bem_core.config.overrides import apply_overrides
from bem_core.config.resolver import Layer, OnDangling, Resolver, plain_layer, value_at
from bem_core.config.schema import show
from bem_core.errors import ConfigError, Location, nearest

_ABSENT: Any = object()


@dataclass(frozen=True, slots=True)
class Step:
    """What one file does to a value.

    Attributes:
        location: Where.
        action: ``sets``, ``deletes``, or ``replaces`` for another value in place of a mapping that would hold it.
        value: What is written there; None for a deletion.
    """

    location: Location
    action: Literal["sets", "deletes", "replaces"]
    value: Any = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where a value comes from.

    Attributes:
        key: Dotted key.
        value: The value that counts, as written.
        steps: What files and overrides do to it, base first. The last one that sets it won, all before are shadowed;
            there is none when `value` is the default of the schema.
    """

    key: str
    value: Any
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        """Return the value and under it the places, the one that won first."""
        lines = [f"{self.key} = {show(self.value)}"]
        if not self.steps:
            lines.append("  the default of the schema")
        for number, step in enumerate(reversed(self.steps)):
            said = f"{step.action} it" if step.action == "deletes" else f"{step.action} {show(step.value)}"
            lines.append(f"  {step.location}: {said}{self._fate(step) if number else ''}")
        return "\n".join(lines)

    def _fate(self, step: Step) -> str:
        """Say what becomes of what a step does, when it is not the last."""
        if step.action != "sets":
            return ""
        return ", merged" if isinstance(step.value, dict) and isinstance(self.value, dict) else ", shadowed"


def explain(
    path: Path | str,
    key: str,
    overrides: Iterable[str] = (),
    *,
    root: Path | None = None,
    template_dirs: Sequence[Path] | None = None,
    on_dangling: OnDangling = "error",
    directives: Directives = DEFAULT,
    schema: bool = True,
) -> Explanation:
    """Say where the value of ``key`` comes from.

    Args:
        path: The file.
        key: Dotted key; a mapping too.
        overrides: As for `load_experiment_config`.
        root: The repository that bases must be in.
        template_dirs: Where ``templates/...`` is looked up last.
        on_dangling: What to do about a base that does not exist.
        directives: Names of the directives.
        schema: Whether the file is an experiment, with legacy names and defaults; otherwise it is any YAML.

    Raises:
        ConfigError: There is no such key, or the file cannot be resolved.
    """
    make_layer = legacy_layer if schema else plain_layer
    resolved = Resolver(root, template_dirs, directives, on_dangling, make_layer).resolve(Path(path))
    data, extra = apply_overrides(resolved.data, overrides, directives, make_layer)
    found = _find(data, _modern(key) if schema else key)
    if found is None and schema:
        default = value_at(ExperimentConfig().to_dict(), tuple(_modern(key).split(".")), _ABSENT)
        if default is not _ABSENT:
            return Explanation(_modern(key), default, ())
    if found is None:
        raise ConfigError(f"{path}: there is no key {key!r}{nearest(key, _keys(data))}")
    steps = [step for layer in (*resolved.layers, *extra) for step in _steps(layer, found, directives)]
    return Explanation(dotted(found), value_at(data, found), tuple(steps))


def _modern(key: str) -> str:
    """Return the name that the schema has for ``key``."""
    parts = tuple(key.split("."))
    parts = (SECTIONS.get(parts[0], parts[0]), *parts[1:])
    for length in (1, 2):
        if parts[:length] in RENAMED and (length == len(parts) or length == 2):
            return dotted((*RENAMED[parts[:length]], *parts[length:]))
    return dotted(parts)


def _find(data: Any, key: str) -> KeyPath | None:
    """Return the path that ``key`` names; keys may be no texts, or have dots in them."""
    if not isinstance(data, dict):
        return None
    for held, below in data.items():
        name = str(held)
        if name == key:
            return (held,)
        if key.startswith(f"{name}."):
            rest = _find(below, key[len(name) + 1 :])
            if rest is not None:
                return (held, *rest)
    return None


def _keys(data: dict[Any, Any], path: KeyPath = ()) -> Iterator[str]:
    for key, value in data.items():
        yield dotted((*path, key))
        if isinstance(value, dict):
            yield from _keys(value, (*path, key))


def _steps(layer: Layer, path: KeyPath, directives: Directives) -> Iterator[Step]:
    """Yield what a layer does to the value at ``path``, in the order in which it takes effect."""
    data: Any = layer.data
    spelled: KeyPath = ()
    for number, part in enumerate(path):
        gone = data.get(directives.delete)
        if gone is True or (isinstance(gone, list) and part in gone):
            yield Step(layer.locate((*spelled, directives.delete), key=True), "deletes")
        spelled = (*spelled, directives.escape(part, top=number == 0))
        if spelled[-1] not in data:
            return
        data = data[spelled[-1]]
        if not isinstance(data, dict) and number < len(path) - 1:
            yield Step(layer.locate(spelled), "replaces", data)
            return
    yield Step(layer.locate(spelled), "sets", data)
