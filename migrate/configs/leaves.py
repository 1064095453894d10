"""Leaves of a configuration: what is counted, compared and shared.

A leaf is a path with a scalar, a list or an empty mapping: the parts that `bem_core.config.merge` replaces as a whole.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

Path = tuple[Any, ...]


def flatten(document: Mapping[Any, Any]) -> dict[Path, Any]:
    """Return the leaves of ``document`` by path, in document order."""
    return dict(_walk(document, ()))


def _walk(mapping: Mapping[Any, Any], above: Path) -> Iterator[tuple[Path, Any]]:
    for name, value in mapping.items():
        path = (*above, name)
        if isinstance(value, Mapping) and value:
            yield from _walk(value, path)
        else:
            yield path, value


def unflatten(leaves: Mapping[Path, Any]) -> dict[Any, Any]:
    """Build the nested mapping that has ``leaves``; no path may lie under another."""
    root: dict[Any, Any] = {}
    for path, value in leaves.items():
        mapping = root
        for name in path[:-1]:
            mapping = mapping.setdefault(name, {})
        mapping[path[-1]] = value
    return root


def key(value: Any) -> Hashable:
    """Return a hashable stand-in that is equal only for values of the same type and content.

    ``1``, ``1.0`` and ``True`` differ, so do ``0.0`` and ``-0.0``; a nan equals a nan. The order of a mapping inside a
    list does not count.
    """
    kind = type(value)
    if kind is float:
        return kind, repr(value)
    if kind is list or kind is tuple:
        return list, tuple([key(item) for item in value])
    if isinstance(value, Mapping):
        return dict, frozenset((key(name), key(item)) for name, item in value.items())
    return kind, value if isinstance(value, Hashable) else repr(value)
