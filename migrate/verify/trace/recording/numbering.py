"""Values for objects that are not kept alive, found by identity."""

from __future__ import annotations

import weakref
from collections import Counter, defaultdict
from typing import Any, Generic, TypeVar

V = TypeVar("V")


class ByIdentity(Generic[V]):
    """A dictionary with weak keys. `weakref.WeakKeyDictionary` takes ten times as long, in code of its own."""

    def __init__(self) -> None:
        self._values: dict[int, tuple[Any, V]] = {}

    def get(self, key: Any) -> V | None:
        """Return the value of an object, or None."""
        found = self._values.get(id(key))
        return found[1] if found is not None else None

    def set(self, key: Any, value: V) -> V:
        """Give an object a value."""
        number, values = id(key), self._values
        values[number] = (weakref.ref(key, lambda _: values.pop(number, None)), value)
        return value

    def drop(self, key: Any) -> None:
        """Forget an object."""
        self._values.pop(id(key), None)


class Numbers:
    """Numbers of objects among those of their kind, in the order in which they were first used."""

    def __init__(self) -> None:
        self._known: defaultdict[str, ByIdentity[int]] = defaultdict(ByIdentity)
        self._counts: Counter[str] = Counter()

    def of(self, kind: str, value: Any) -> int:
        """Return the number of an object."""
        found = self._known[kind].get(value)
        if found is None:
            found = self._known[kind].set(value, self._counts[kind])
            self._counts[kind] += 1
        return found
