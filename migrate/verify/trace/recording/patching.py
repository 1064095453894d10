"""Replacing functions and methods, in all modules that have bound them, and putting them back."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

from .scripts import forget_operator, know_operator

_MISSING = object()
# Modules of torch that only pass on what others define.
_REBOUND = ("torch.nn.utils", "torch.serialization", "torch.distributed.checkpoint")


class Patches:
    """What was replaced."""

    def __init__(self) -> None:
        self._undo: list[tuple[Any, str, Any]] = []
        self._functions: dict[int, tuple[Any, Any]] = {}
        self._operators: list[Any] = []

    def method(self, owner: type, name: str, make: Callable[[Any], Any]) -> None:
        """Replace a method that a class itself defines by what ``make`` returns for it."""
        original = vars(owner)[name]
        self._set(owner, name, functools.update_wrapper(make(original), original))

    def inherited(self, owner: type, name: str, make: Callable[[Any], Any]) -> None:
        """Define in a class what it inherits, such as the methods of `Tensor` that are written in C."""
        original = getattr(owner, name)
        self._set(owner, name, functools.update_wrapper(make(original), original))

    def function(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        """Replace a function of a module; `rebind` then finds others that have it."""
        original = getattr(owner, name)
        replacement = functools.update_wrapper(make(original), original)
        self._functions[id(original)] = (original, replacement)
        if know_operator(replacement, original):
            self._operators.append(replacement)
        self._set(owner, name, replacement)

    def named(self, module: str, name: str, make: Callable[[Any], Any]) -> str | None:
        """Replace a function or a method of a module that is loaded, by its qualified name; returns why it cannot be.

        A name that is not there at all, or not yet, is ``no such function``.
        """
        *path, last = name.split(".")
        try:
            owner: Any = functools.reduce(getattr, path, sys.modules[module])
            original = vars(owner)[last]
        except (AttributeError, KeyError):
            return "no such function"
        if not callable(original):
            return f"a {type(original).__name__}"
        (self.method if isinstance(owner, type) else self.function)(owner, last, make)
        return None

    def rebind(self) -> None:
        """Replace the functions where other modules have bound them with ``from ... import``.

        Modules of torch itself are left alone: compilers have tables of functions. So are those of the tracer, whose
        own files would be recorded as checkpoints of the program.
        """
        own = __name__.rpartition(".")[0]
        for name, module in list(sys.modules.items()):
            if name.startswith(f"{own}."):
                continue
            if name.startswith("torch.") and name not in _REBOUND:
                continue
            for key, value in list(getattr(module, "__dict__", {}).items()):
                found = self._functions.get(id(value))
                if found is not None and value is found[0]:
                    self._set(module, key, found[1])

    def restore(self) -> None:
        """Put back everything, the last first."""
        for owner, name, original in reversed(self._undo):
            if original is _MISSING:
                delattr(owner, name)
            else:
                setattr(owner, name, original)
        self._undo.clear()
        while self._operators:
            forget_operator(self._operators.pop())

    def _set(self, owner: Any, name: str, value: Any) -> None:
        self._undo.append((owner, name, vars(owner).get(name, _MISSING)))
        setattr(owner, name, value)
