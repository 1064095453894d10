"""Installing all hooks, once torch is loaded."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from . import hooks_data, hooks_draws, hooks_modules, hooks_steps, unobserved
from .hooks_saves import Saves
from .named import Named
from .patching import Patches
from .recorder import Recorder


@contextlib.contextmanager
def installed(recorder: Recorder) -> Iterator[Named]:
    """Have the hooks installed in a block; yields what wraps functions of modules that are loaded later."""
    patches = Patches()
    saves = Saves(recorder)
    handles = []
    try:
        unobserved.install(recorder, patches)
        handles = hooks_steps.install(recorder, patches)
        hooks_steps.wrap_known_schedulers(recorder, patches)
        hooks_modules.install(recorder, patches)
        hooks_data.install(recorder, patches)
        saves.install(patches)
        if recorder.deep:
            hooks_draws.install(recorder, patches)
        patches.rebind()
        yield Named(recorder, patches, saves)
    finally:
        for handle in handles:
            handle.remove()
        patches.restore()
