"""Where random numbers are drawn (level `deep`): each call of a function that draws, with its place in the program."""

from __future__ import annotations

import os
import random
import sys
from functools import partial
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.compiler import is_compiling
from torch.nn import functional

from .patching import Patches
from .recorder import Recorder
from .scripts import for_scripts
from .settings import NUMPY_RANDOM

_TORCH = "bernoulli multinomial normal poisson rand rand_like randint randint_like randn randn_like randperm".split()
_METHODS = """
    bernoulli bernoulli_ cauchy_ exponential_ geometric_ log_normal_ multinomial normal_ random_ uniform_
""".split()
_FUNCTIONAL = "alpha_dropout dropout dropout1d dropout2d dropout3d feature_alpha_dropout rrelu".split()
_PYTHON = """
    betavariate choice choices expovariate gammavariate gauss getrandbits lognormvariate normalvariate paretovariate
    randbytes randint random randrange sample shuffle triangular uniform vonmisesvariate weibullvariate
""".split()
_NUMPY = """
    beta binomial bytes chisquare choice dirichlet exponential gamma geometric gumbel laplace logistic lognormal
    multinomial multivariate_normal normal permutation poisson rand randint randn random random_integers random_sample
    shuffle standard_normal uniform
""".split()
_OWN = os.path.dirname(__file__)


def install(recorder: Recorder, patches: Patches) -> None:
    """Install the hooks for torch and Python."""
    for name in _TORCH:
        patches.function(torch, name, partial(_drawing, recorder, f"torch.{name}"))
    for name in _FUNCTIONAL:
        patches.function(functional, name, partial(_drawing, recorder, f"F.{name}"))
    for name in _METHODS:
        patches.inherited(Tensor, name, partial(_drawing, recorder, f"Tensor.{name}"))
    for name in _PYTHON:
        patches.function(random, name, partial(_drawing, recorder, f"random.{name}"))


def install_for_numpy(recorder: Recorder, patches: Patches) -> None:
    """Install those for NumPy's global generator, once its module is there."""
    module = sys.modules[NUMPY_RANDOM]
    for name in _NUMPY:
        if hasattr(module, name):
            patches.function(module, name, partial(_drawing, recorder, f"numpy.{name}"))


def _drawing(recorder: Recorder, name: str, original: Any) -> Any:
    def draw(*args: Any, **kwargs: Any) -> Any:
        if not is_compiling() and recorder.active and "draw" not in recorder.inside:
            recorder.guarded(_note, recorder, name, kwargs)
            with recorder.within("draw"):
                return original(*args, **kwargs)
        return original(*args, **kwargs)

    return for_scripts(draw, original)


def _note(recorder: Recorder, name: str, kwargs: dict[str, Any]) -> None:
    if name.startswith("F.") and kwargs.get("training") is False:
        return
    recorder.fired["draw"] += 1
    if recorder.on:
        own = kwargs.get("generator") is not None
        recorder.now["draws"].append({"function": name, "at": _caller(), **({"generator": True} if own else {})})


def _caller() -> list[str]:
    """Return the places in the program that led here, the innermost first, at most five."""
    frame: FrameType | None = sys._getframe(2)
    found: list[str] = []
    while frame is not None and len(found) < 5:
        code = frame.f_code
        if not _is_library(code.co_filename):
            found.append(f"{os.path.basename(code.co_filename)}:{frame.f_lineno} {code.co_qualname}")
        frame = frame.f_back
    return found


def _is_library(path: str) -> bool:
    parts = path.replace(os.sep, "/").split("/")
    installed = "site-packages" in parts and bool({"torch", "numpy"} & set(parts))
    return installed or path.startswith(_OWN) or path == random.__file__ or path.startswith("<frozen")
