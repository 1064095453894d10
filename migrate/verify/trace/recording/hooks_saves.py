"""Hooks on what saves checkpoints: `torch.save`, and functions that are named.

What is saved is looked at when the function is called, in the thread that calls it; that the function may leave the
writing to a thread makes no difference. Where the program itself calls it in another thread, the checkpoint belongs to
the step after which that thread, or what a pool of threads runs, was started.
"""

from __future__ import annotations

import concurrent.futures
import inspect
import os
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from .checkpoints import Saved, saved
from .numbering import ByIdentity
from .patching import Patches
from .recorder import Recorder


class _Here(threading.local):
    """What is true in one thread.

    Attributes:
        saving: Whether it is in a function that saves, which may call another one.
        after_step: Steps before what it runs was handed over to it; None if that was not seen.
    """

    saving = False
    after_step: int | None = None


class Saves:
    """Knows what each thread is at."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self._here = _Here()
        self._started: ByIdentity[tuple[bool, int]] = ByIdentity()

    def install(self, patches: Patches) -> None:
        """Install the hooks."""
        patches.function(torch.serialization, "save", partial(self.saving, "torch.save", "obj"))
        patches.method(threading.Thread, "start", self._start)
        patches.method(concurrent.futures.ThreadPoolExecutor, "submit", self._submit)

    def saving(self, name: str, argument: str | None, original: Any) -> Any:
        """Return a function that does what another does, and notes what it saves.

        Args:
            name: Of the function, for the record.
            argument: Name of the argument that has what is saved; the first one by default.
            original: The function.
        """
        signature = _signature(original)
        if signature is not None and argument is not None and argument not in signature.parameters:
            self.recorder.note(f"{name} has no argument {argument!r}, so what it saves is not recorded")

        def save(*args: Any, **kwargs: Any) -> Any:
            recorder, here = self.recorder, self._here
            if not recorder.active or self._moment()[0]:
                return original(*args, **kwargs)
            arguments = recorder.guarded(_arguments, signature, args, kwargs) or {}
            found = recorder.guarded(_looked_at, name, argument, arguments)
            here.saving = True
            try:
                result = original(*args, **kwargs)
            finally:
                here.saving = False
            if found is not None:
                recorder.guarded(self._note, found, arguments, result)
            return result

        return save

    def _note(self, found: Saved, arguments: Mapping[str, Any], result: Any) -> None:
        best = any(arguments.get(key) is True for key in ("best", "is_best"))
        step = None if self._is_training() else self._moment()[1]
        self.recorder.checkpoint(found, _file(result, arguments), best, step)

    def _is_training(self) -> bool:
        return self.recorder.thread == threading.get_ident()

    def _moment(self) -> tuple[bool, int]:
        """Return whether this thread is in a function that saves, and how many steps were done before its work."""
        if self._is_training():
            return self._here.saving, self.recorder.num_steps
        saving, step = self._started.get(threading.current_thread()) or (False, self.recorder.num_steps)
        if self._here.after_step is not None:
            saving, step = False, self._here.after_step
        return self._here.saving or saving, step

    def _start(self, original: Any) -> Any:
        def start(thread: threading.Thread) -> None:
            self.recorder.guarded(lambda: self._started.set(thread, self._moment()))
            original(thread)

        return start

    def _submit(self, original: Any) -> Any:
        def submit(pool: Any, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
            moment = self.recorder.guarded(self._moment)
            return original(pool, fn if moment is None else partial(self._run, moment, fn), *args, **kwargs)

        return submit

    def _run(self, moment: tuple[bool, int], function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        here = self._here
        before = here.saving, here.after_step
        here.saving, here.after_step = moment
        try:
            return function(*args, **kwargs)
        finally:
            here.saving, here.after_step = before


def _signature(function: Any) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):  # written in C
        return None


def _arguments(signature: inspect.Signature | None, args: Any, kwargs: Any) -> Mapping[str, Any] | None:
    """Return the arguments by name, or by number where names are not known; None for a call that will fail."""
    if signature is None:
        return {**{str(at): value for at, value in enumerate(args)}, **kwargs}
    try:
        return signature.bind(*args, **kwargs).arguments
    except TypeError:
        return None


def _looked_at(name: str, argument: str | None, arguments: Mapping[str, Any]) -> Saved | None:
    key = argument or next((one for one in arguments if one != "self"), "")
    # Pickling a tensor saves its storage, wherever it goes to.
    if key not in arguments or isinstance(arguments[key], torch.TypedStorage | torch.UntypedStorage):
        return None
    return saved(name, arguments[key])


def _file(result: Any, arguments: Mapping[str, Any]) -> str | None:
    """Return the name of the file: what the function returned, or the first argument that is a path."""
    for value in (result, *arguments.values()):
        path = os.fspath(value) if isinstance(value, str | os.PathLike) else None
        if isinstance(path, str):
            return os.path.basename(path)
    return None
