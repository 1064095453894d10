"""Inheritance between mappings: `merge` lays an overlay over a base, `overlay` finds the smallest that gives a result.

Resolved data has no directives in it. An overlay may: ``base_config`` at its top, which the loader reads and `merge`
leaves out, and ``_delete_`` in any mapping of it. A list is one value, so nothing inside it is a directive. Data whose
key would read as a directive is written with one underscore more at its end (`Directives.escape`).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bem_core.errors import ConfigError

Path = tuple[Hashable, ...]
_ABSENT: Any = object()


class DirectiveError(ConfigError):
    """A ``_delete_`` that cannot be followed.

    Attributes:
        path: Keys down to the mapping that holds it.
    """

    def __init__(self, message: str, path: Path) -> None:
        super().__init__(f"{dotted(path)}: {message}" if path else message)
        self.path = path


@dataclass(frozen=True, slots=True)
class Directives:
    """The keys that mean something to the loader.

    Attributes:
        base: Names the bases; only at the top of a document.
        delete: ``true``, or a list of keys; in any mapping.

    Raises:
        ValueError: The two names differ only by underscores at their end, so one would escape the other.
    """

    base: str = "base_config"
    delete: str = "_delete_"

    def __post_init__(self) -> None:
        """Check that the escaped form of one name is never the other."""
        if self.base.rstrip("_") == self.delete.rstrip("_"):
            raise ValueError(f"{self.base!r} and {self.delete!r} must differ by more than underscores at their end")

    def escape(self, key: Any, top: bool = False) -> Any:
        """Return ``key`` as an overlay has to spell it: ``_delete_`` becomes ``_delete__``, that one ``_delete___``."""
        return f"{key}_" if self._tail(key, top) is not None else key

    def unescape(self, key: Any, top: bool = False) -> Any:
        """Return the key of the data that an overlay spells ``key``."""
        return key[:-1] if self._tail(key, top) else key

    def _tail(self, key: Any, top: bool) -> str | None:
        """Return the underscores after the directive that ``key`` starts with; None when it is no such key."""
        if not isinstance(key, str) or key[-1:] not in (self.delete[-1:], self.base[-1:], "_"):
            return None
        for name in (self.delete, self.base) if top else (self.delete,):
            if key.startswith(name) and not key[len(name) :].strip("_"):
                return key[len(name) :]
        return None


DEFAULT = Directives()


def dotted(path: Path) -> str:
    """Return ``path`` as one name, such as ``training.learning_rate``."""
    return ".".join(str(key) for key in path)


def merge(base: Mapping[Any, Any], over: Mapping[Any, Any], directives: Directives = DEFAULT) -> dict[Any, Any]:
    """Lay an overlay over resolved data.

    Mappings merge deep; every other value, ``None`` and the empty list too, replaces what was there, and so does a
    mapping over a scalar. ``_delete_: [key, ...]`` removes keys of the base first, ``_delete_: true`` all of them. The
    keys of the base come first, in its order, then the new ones; a key that is deleted and set again is new. The
    result shares values with its arguments.

    Raises:
        DirectiveError: A ``_delete_`` is neither ``true`` nor a list of keys that the base has.
    """
    return _merge(base, over, directives, ())


def _merge(base: Mapping[Any, Any], over: Mapping[Any, Any], directives: Directives, path: Path) -> dict[Any, Any]:
    top = not path
    result = dict(base)
    if directives.delete in over:
        _delete(result, over[directives.delete], directives, path)
    held = _Held(result)
    for raw, value in over.items():
        if raw == directives.delete or (top and raw == directives.base):
            continue
        key = directives.unescape(raw, top)
        if isinstance(value, dict):
            old = result.get(held(key))
            value = _merge(old if isinstance(old, dict) else {}, value, directives, (*path, key))
        _put(result, held(key), key, value)
    return result


def _delete(result: dict[Any, Any], what: Any, directives: Directives, path: Path) -> None:
    name = directives.delete
    if what is True:
        result.clear()
        return
    if not isinstance(what, list):
        raise DirectiveError(
            f"{name!r} takes true or a list of keys, not {what!r}; a key of the data with that name is written"
            f" {directives.escape(name)!r}",
            path,
        )
    held = _Held(result)
    for key in what:
        found = held(key) if isinstance(key, Hashable) else _ABSENT
        if found not in result:
            raise DirectiveError(f"{name!r} names {key!r}, which no base sets here", path)
        del result[found]


def combine(first: Mapping[Any, Any], second: Mapping[Any, Any]) -> dict[Any, Any]:
    """Merge two resolved mappings as `merge` does, reading no directives; the second wins."""
    result = dict(first)
    held = _Held(result)
    for key, value in second.items():
        old = result.get(held(key))
        value = combine(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
        _put(result, held(key), key, value)
    return result


def disagreements(first: Mapping[Any, Any], second: Mapping[Any, Any], path: Path = ()) -> Iterator[Path]:
    """Yield the paths where both mappings set a value and the values differ, so that their order decides."""
    held = _Held(first)
    for key, value in second.items():
        old = first.get(held(key), _ABSENT)
        if old is _ABSENT:
            continue
        if isinstance(old, dict) and isinstance(value, dict):
            yield from disagreements(old, value, (*path, key))
        elif not typed_equal(old, value):
            yield (*path, key)


def escape(data: Mapping[Any, Any], directives: Directives = DEFAULT, top: bool = True) -> dict[Any, Any]:
    """Return the overlay that sets exactly ``data`` over nothing."""
    return {
        directives.escape(key, top): escape(value, directives, False) if isinstance(value, dict) else value
        for key, value in data.items()
    }


def overlay(
    base: Mapping[Any, Any], full: Mapping[Any, Any], directives: Directives = DEFAULT, order: bool = False
) -> dict[Any, Any]:
    """Find the smallest overlay that makes ``base`` into ``full``, so that `merge` of the two gives ``full`` again.

    Its size is its number of leaves, where each deleted key is one and so is ``_delete_: true``.

    Args:
        base: Resolved data.
        full: Resolved data.
        directives: Names of the directives.
        order: Whether the keys must come out in the order of ``full`` too; a key out of place is deleted and set again.
    """
    return _overlay(base, full, directives, order, True)[0]


def _overlay(
    base: Mapping[Any, Any], full: Mapping[Any, Any], directives: Directives, order: bool, top: bool
) -> tuple[dict[Any, Any], int]:
    """Return the smallest overlay and its size."""
    in_base, in_full = _Held(base), _Held(full)
    kept = _kept(base, [in_base(key) for key in full], order)
    # A key that gives way to an equal one of another type needs no deletion.
    gone = [key for key in base if key not in kept and (key not in full or in_full(key) is not _ABSENT)]
    result: dict[Any, Any] = {directives.delete: gone} if gone else {}
    size = len(gone)
    for key, value in full.items():
        held = in_base(key)
        change, cost = _change(base[held] if held in kept else _ABSENT, value, directives, order)
        if cost:
            result[directives.escape(key, top)] = change
            size += cost
    if size > 1 and 1 + leaves(full) < size:
        return {directives.delete: True, **escape(full, directives, top)}, 1 + leaves(full)
    return result, size


def _change(held: Any, value: Any, directives: Directives, order: bool) -> tuple[Any, int]:
    """Return what an overlay writes so that ``held`` becomes ``value``, and its size; 0 when it writes nothing."""
    if isinstance(held, dict) and isinstance(value, dict):
        return _overlay(held, value, directives, order, False)
    if held is not _ABSENT and typed_equal(held, value, order):
        return None, 0
    if isinstance(value, dict):
        return escape(value, directives, False), leaves(value) or 1
    return value, 1


def _kept(base: Mapping[Any, Any], held: list[Any], order: bool) -> set[Any]:
    """Return the keys of the base that stay: with ``order``, the first of the wanted ones that it has in that order."""
    if not order:
        return {key for key in held if key is not _ABSENT}
    places = {key: number for number, key in enumerate(base)}
    kept: set[Any] = set()
    last = -1
    for key in held:
        if key is _ABSENT or places[key] < last:
            break
        kept.add(key)
        last = places[key]
    return kept


def leaves(data: Mapping[Any, Any]) -> int:
    """Count the leaves of resolved data: scalars, lists and empty mappings below its top."""
    return sum((leaves(value) or 1) if isinstance(value, dict) else 1 for value in data.values())


def typed_equal(first: Any, second: Any, order: bool = False) -> bool:
    """Tell whether two values are the same, types included.

    ``1``, ``1.0`` and ``True`` differ, as values and as keys; so do ``0.0`` and ``-0.0``, and two times of day with
    different UTC offsets; nan equals nan.

    Args:
        first: Any value that a YAML document can hold.
        second: Another.
        order: Whether the order of keys counts.
    """
    if isinstance(first, dict) and isinstance(second, dict):
        return _equal_mappings(first, second, order)
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(typed_equal(a, b, order) for a, b in zip(first, second, strict=True))
    if type(first) is not type(second):
        return False
    if isinstance(first, float):
        return repr(first) == repr(second)
    if isinstance(first, datetime):
        return bool(first == second) and first.utcoffset() == second.utcoffset()
    return bool(first == second)


def _equal_mappings(first: dict[Any, Any], second: dict[Any, Any], order: bool) -> bool:
    if len(first) != len(second):
        return False
    if order and not all(typed_equal(a, b) for a, b in zip(first, second, strict=True)):
        return False
    held = _Held(second)
    for key, value in first.items():
        found = held(key)
        if found is _ABSENT or not typed_equal(value, second[found], order):
            return False
    return True


class _Held:
    """Finds the keys of a mapping by value and type, which a dict does not tell apart.

    A key that is set later may be found or not; merging never asks for the same key twice.
    """

    __slots__ = ("_mapping", "_others")

    def __init__(self, mapping: Mapping[Any, Any]) -> None:
        self._mapping = mapping
        self._others: dict[tuple[type, str], Any] | None = None

    def __call__(self, key: Any) -> Any:
        """Return the key of the mapping that is ``key`` in type too, or `_ABSENT`."""
        if isinstance(key, str):
            return key if key in self._mapping else _ABSENT
        if self._others is None:
            self._others = {(type(one), repr(one)): one for one in self._mapping if not isinstance(one, str)}
        return self._others.get((type(key), repr(key)), _ABSENT)


def _put(result: dict[Any, Any], held: Any, key: Any, value: Any) -> None:
    """Set a key; an equal one of another type, as 1 and True are to a dict, makes place for it."""
    if held is _ABSENT:
        if not isinstance(key, str):
            result.pop(key, None)
        held = key
    result[held] = value
