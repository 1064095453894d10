"""Python imports this at its start, because the folder is first on ``PYTHONPATH``: it starts the tracer.

It uses the standard library only and leaves no trace of itself on ``sys.path``. Another ``sitecustomize`` that it
hides is run as if this one were not there.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))
_RECORDING = os.path.join(os.path.dirname(_HERE), "recording")
# Not its own name: the program may have packages that are called like ours.
_NAME = "bem_migrate_trace"


def _leave_path() -> None:
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or ".") != _HERE]


def _run_hidden() -> None:
    """Run the ``sitecustomize`` that would have been found without this one."""
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", sys.path)
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


def _start_tracer() -> None:
    path = os.path.join(_RECORDING, "__init__.py")
    spec = importlib.util.spec_from_file_location(_NAME, path, submodule_search_locations=[_RECORDING])
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        sys.modules[_NAME] = module
        spec.loader.exec_module(module)
        importlib.import_module(f"{_NAME}.child").start()


_leave_path()
_start_tracer()
_run_hidden()
