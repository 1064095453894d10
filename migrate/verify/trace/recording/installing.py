"""Installing all hooks, once torch is loaded."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from . import hooks_data, hooks_draws, hooks_metrics, hooks_modules, hooks_steps
from .patching import Patches
from .recorder import Recorder
from .settings import by_module


@contextlib.contextmanager
def installed(recorder: Recorder) -> Iterator[Patches]:
    """Have the hooks installed in a block."""
    patches = Patches()
    handles = []
    try:
        handles = hooks_steps.install(recorder, patches)
        hooks_steps.wrap_known_schedulers(recorder, patches)
        hooks_modules.install(recorder, patches)
        hooks_data.install(recorder, patches)
        if recorder.deep:
            hooks_draws.install(recorder, patches)
        patches.rebind()
        yield patches
    finally:
        for handle in handles:
            handle.remove()
        patches.restore()


def install_metrics(recorder: Recorder, patches: Patches, module: str) -> None:
    """Wrap the functions of a module whose results are metrics."""
    hooks_metrics.install(recorder, patches, module, by_module(recorder.settings.metrics)[module])
    patches.rebind()
