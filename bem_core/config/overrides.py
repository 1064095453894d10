"""Values from a command line: ``training.learning_rate=1e-4`` is one more layer on top of the file."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from bem_core.config.legacy import legacy_layer
from bem_core.config.merge import Directives, dotted, escape, merge
from bem_core.config.resolver import Layer, value_at
from bem_core.config.yaml_reader import Document, YamlError, parse
from bem_core.errors import ConfigError

_ABSENT: Any = object()


def apply_overrides(
    data: dict[Any, Any],
    overrides: Iterable[str],
    directives: Directives,
    make_layer: Callable[[Path, Document, Directives], Layer] = legacy_layer,
) -> tuple[dict[Any, Any], list[Layer]]:
    """Lay each override over ``data``, in their order.

    Args:
        data: Resolved data.
        overrides: ``dotted.key=value`` each; the value is YAML. A key with a dot in it cannot be reached.
        directives: Names of the directives, which have no meaning in an override.
        make_layer: Makes a layer of an override, as for a file.

    Returns:
        The data, and a layer for each override.

    Raises:
        ConfigError: An override has no ``=``, its value is not YAML, or it reaches into a list.
    """
    layers = []
    for text in overrides:
        layer = _layer(text, directives, make_layer)
        _check_way(data, layer)
        layers.append(layer)
        data = merge(data, layer.data, directives)
    return data, layers


def _layer(text: str, directives: Directives, make_layer: Callable[[Path, Document, Directives], Layer]) -> Layer:
    source = f"override {text!r}"
    name, equals, value = text.partition("=")
    keys = name.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(f"{source}: expected dotted.key=value")
    try:
        document = parse(f"value: {value}", source)
        nested = document.data["value"]
        if len(document.data) != 1:
            raise ConfigError(f"{source}: the value is not one value")
    except YamlError as error:
        raise ConfigError(f"{source}: the value is not YAML: {error.reason}") from error
    for key in reversed(keys):
        nested = {key: nested}
    # Positions in the value tell a user nothing that the text of the override does not.
    bare = Document(source, "", parse("", source).node, escape(nested, directives))
    return make_layer(Path(source), bare, directives)


def _check_way(data: dict[Any, Any], layer: Layer) -> None:
    path: tuple[Any, ...] = ()
    below: Any = layer.data
    while isinstance(below, dict) and len(below) == 1:
        key = next(iter(below))
        held = value_at(data, path, _ABSENT)
        if held is not _ABSENT and isinstance(held, list):
            raise ConfigError(f"{layer.document.source}: {dotted(path)} is a list; give the whole list")
        path, below = (*path, key), below[key]
