"""Functions that are wrapped by their names, when their modules are there."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from .hooks_draws import install_for_numpy
from .hooks_metrics import returning
from .hooks_saves import Saves
from .patching import Patches
from .recorder import Recorder
from .settings import NUMPY_RANDOM, SAVES, by_module

_MAIN = "__main__"


class Named:
    """Wraps the functions whose results are metrics, and those that save.

    Args:
        recorder: Gets what they return or save.
        patches: Keeps what was replaced.
        saves: Wraps those that save.
    """

    def __init__(self, recorder: Recorder, patches: Patches, saves: Saves) -> None:
        settings = recorder.settings
        self.recorder = recorder
        self.patches = patches
        self.saves = saves
        self._metrics = by_module(settings.metrics)
        self._saves = by_module(settings.saves)
        self._library = by_module(list(SAVES))
        self._open = recorder.not_found
        self._open |= dict.fromkeys((*settings.metrics, *settings.saves), "its module was never imported")
        if self._open:
            recorder.look_for_names = self._look_at_main

    def module_is_there(self, module: str) -> None:
        """Wrap the functions of a module that was executed."""
        if module == NUMPY_RANDOM and self.recorder.deep:
            install_for_numpy(self.recorder, self.patches)
        self._wrap(module, module)
        for name in self._library.get(module, ()):
            self._wrap_save(module, name)
        self.patches.rebind()

    def _look_at_main(self) -> None:
        """Wrap functions of the program itself, which defines them while it runs; called until all are found."""
        main = sys.modules.get(_MAIN)
        # ``python -m package.train`` runs that module under another name.
        names = {_MAIN, getattr(getattr(main, "__spec__", None), "name", _MAIN)}
        modules = [module for module in (*self._metrics, *self._saves) if module in names]
        if not modules:
            self.recorder.look_for_names = None
        found = [self._wrap(module, _MAIN) for module in dict.fromkeys(modules)]
        if any(found):
            self.patches.rebind()

    def _wrap(self, module: str, where: str) -> bool:
        """Wrap the functions that the settings name of a module; returns whether one was found."""
        found = [
            self._try(f"{module}:{text}", where, text.partition(":")[0], make)
            for names, make in ((self._metrics, self._metric), (self._saves, self._save))
            for text in names.get(module, ())
        ]
        if not self._open:
            self.recorder.look_for_names = None
        return any(found)

    def _try(self, key: str, where: str, name: str, make: Callable[[str], Callable[[Any], Any]]) -> bool:
        if key not in self._open:
            return False
        problem = self.patches.named(where, name, make(key))
        if problem is None:
            del self._open[key]
        else:
            self._open[key] = problem
        return problem is None

    def _metric(self, key: str) -> Callable[[Any], Any]:
        return partial(returning, self.recorder, key.rpartition(":")[2].rpartition(".")[2])

    def _save(self, key: str) -> Callable[[Any], Any]:
        module, name, *argument = key.split(":")
        return partial(self.saves.saving, f"{module}.{name}", argument[0] if argument else None)

    def _wrap_save(self, module: str, text: str) -> None:
        # A package of the program may only be called like the one that is meant.
        self.patches.named(module, text.partition(":")[0], self._save(f"{module}:{text}"))
