"""Keeps what the recorder does out of what the program itself observes: its modes, and what TorchScript traces."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.compiler import is_compiling
from torch.utils import _python_dispatch

from .patching import Patches

if TYPE_CHECKING:
    from .recorder import Recorder


def install(recorder: Recorder, patches: Patches) -> None:
    """Notice that the program enters a mode or traces a model; neither is asked for in each call."""
    for module in (torch.overrides, _python_dispatch):
        patches.function(module, "_push_mode", partial(_push_mode, recorder))
    for name in ("trace", "trace_module", "_get_trace_graph"):  # The last is what exports to ONNX call.
        patches.function(torch.jit, name, partial(_tracing, recorder))


def _push_mode(recorder: Recorder, original: Any) -> Any:
    def _push_mode(mode: Any) -> None:
        if not is_compiling():
            recorder.modes_seen = True
        original(mode)

    return _push_mode


def _tracing(recorder: Recorder, original: Any) -> Any:
    def trace(*args: Any, **kwargs: Any) -> Any:
        with recorder.pause("calls while TorchScript traces a model are not recorded"):
            return original(*args, **kwargs)

    return trace


@contextlib.contextmanager
def unobserved() -> Iterator[None]:
    """Hide the operations of a block from the modes that are entered, of operators and of functions."""
    with contextlib.ExitStack() as stack:
        if torch._C._len_torch_dispatch_stack():
            stack.enter_context(_python_dispatch._disable_current_modes())
        if torch._C._len_torch_function_stack():
            stack.enter_context(torch._C.DisableTorchFunction())
        yield
