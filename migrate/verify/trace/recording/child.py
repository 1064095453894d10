"""Recording a whole process: what ``bootstrap/sitecustomize.py`` calls before the program starts."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial

from .importing import AroundImport, calling
from .settings import VARIABLE, Settings, watched_modules

# Loaded with the first optimizer.
_DYNAMO = "torch._dynamo"

_keep_open = contextlib.ExitStack()


class _Process:
    """Installs the hooks when torch is there, and wraps functions of other modules when those are there too."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.executed: list[str] = []
        self.wrap: Callable[[str], None] = self.executed.append

    def torch_is_there(self) -> None:
        """Install the hooks."""
        # Here and not at the top, because these import torch.
        from .fingerprint import start as header
        from .installing import installed
        from .recorder import Recorder
        from .switches import make_deterministic
        from .waking import watch

        make_deterministic(self.settings.determinism)
        recorder = Recorder(self.settings, lambda: header(self.settings))
        if os.getppid() != self.settings.launcher:
            recorder.sleep()
        watch(recorder)
        named = _keep_open.enter_context(installed(recorder))
        self.wrap = named.module_is_there
        for module in self.executed:
            self.wrap(module)


def start() -> None:
    """Wait for torch to be imported; does nothing where the settings are not in the environment."""
    text = os.environ.get(VARIABLE)
    if not text:
        return
    process = _Process(Settings.loads(text))
    finder = AroundImport()
    finder.waiting["torch"] = partial(_torch_loads, process)
    finder.waiting[_DYNAMO] = _uncollected
    for module in watched_modules(process.settings):
        finder.waiting[module] = partial(calling, _is_there, process, module)
    sys.meta_path.insert(0, finder)


@contextlib.contextmanager
def _torch_loads(process: _Process) -> Iterator[None]:
    with _uncollected():
        yield
    # More than 100,000 objects that live as long as the process: no collection need look at them, nor that at its end.
    gc.freeze()
    process.torch_is_there()


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Have no garbage collected in a block that makes many objects and hardly any garbage.

    ``migrate.imports.doctor`` does the same; nothing of ``migrate`` can be imported in a traced process.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _is_there(process: _Process, module: str) -> None:
    process.wrap(module)
