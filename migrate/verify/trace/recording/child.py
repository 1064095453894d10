"""Recording a whole process: what ``bootstrap/sitecustomize.py`` calls before the program starts."""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from types import ModuleType
from typing import Any

from .settings import VARIABLE, Settings, by_module

_keep_open = contextlib.ExitStack()


class _AfterImport(importlib.abc.MetaPathFinder):
    """Calls functions right after modules were executed, before the ``import`` statement binds anything of them."""

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


class _Process:
    """Installs the hooks when torch is there, and wraps functions of other modules when those are there too."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.executed: list[str] = []
        self.wrap: Callable[[str], None] | None = None

    def module_is_there(self, module: str) -> None:
        """Wrap the functions of a module whose results are metrics; later, if torch is not there yet."""
        if self.wrap is None:
            self.executed.append(module)
        else:
            self.wrap(module)

    def torch_is_there(self) -> None:
        """Install the hooks."""
        # Here and not at the top, because these import torch.
        from .fingerprint import start as header
        from .installing import install_metrics, installed
        from .recorder import Recorder
        from .waking import watch

        recorder = Recorder(self.settings, lambda: header(self.settings))
        if os.getppid() != self.settings.launcher:
            recorder.sleep()
        watch(recorder)
        patches = _keep_open.enter_context(installed(recorder))
        self.wrap = lambda module: install_metrics(recorder, patches, module)
        for module in self.executed:
            self.wrap(module)


def start() -> None:
    """Wait for torch to be imported; does nothing where the settings are not in the environment."""
    text = os.environ.get(VARIABLE)
    if not text:
        return
    process = _Process(Settings.loads(text))
    finder = _AfterImport()
    finder.waiting["torch"] = process.torch_is_there
    for module in by_module(process.settings.metrics):
        finder.waiting[module] = partial(process.module_is_there, module)
    sys.meta_path.insert(0, finder)
