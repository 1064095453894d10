"""Doing something around the import of modules."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import ModuleType
from typing import Any


@contextmanager
def calling(function: Callable[..., None], *arguments: object) -> Iterator[None]:
    """Call a function at the end of a block that raised nothing."""
    yield
    function(*arguments)


class AroundImport(importlib.abc.MetaPathFinder):
    """Has modules executed in blocks, which end before the ``import`` statement binds anything of them.

    Attributes:
        waiting: Makes the block, by the name of the module.
    """

    def __init__(self) -> None:
        self.waiting: dict[str, Callable[[], AbstractContextManager[None]]] = {}

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        """Find a module as the other finders do, and have its loader execute it in the block once."""
        block = self.waiting.pop(fullname, None)
        if block is None:
            return None
        others = (finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec"))
        spec = next((found for finder in others if (found := finder.find_spec(fullname, path, target))), None)
        loader: Any = getattr(spec, "loader", None)
        if loader is None:
            self.waiting[fullname] = block
            return spec

        def exec_module(module: ModuleType) -> None:
            del loader.exec_module  # It is what it was, for whoever looks at it.
            with block():
                loader_exec(module)

        loader_exec, loader.exec_module = loader.exec_module, exec_module
        return spec
