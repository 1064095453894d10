"""Calling back when modules are imported."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any


class AfterImport(importlib.abc.MetaPathFinder):
    """Calls functions right after modules were executed, before the ``import`` statement binds anything of them.

    Attributes:
        waiting: What is called, by the name of the module.
    """

    def __init__(self) -> None:
        self.waiting: dict[str, Callable[[], None]] = {}

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        """Find a module as the other finders do, and have its loader call back once."""
        callback = self.waiting.pop(fullname, None)
        if callback is None:
            return None
        others = (finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec"))
        spec = next((found for finder in others if (found := finder.find_spec(fullname, path, target))), None)
        loader: Any = getattr(spec, "loader", None)
        if loader is None:
            self.waiting[fullname] = callback
            return spec

        def exec_module(module: ModuleType) -> None:
            del loader.exec_module  # It is what it was, for whoever looks at it.
            loader_exec(module)
            callback()

        loader_exec, loader.exec_module = loader.exec_module, exec_module
        return spec
