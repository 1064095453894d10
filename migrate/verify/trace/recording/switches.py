"""The switches of torch that decide how sums are computed: setting them for a program, and reading them."""

from __future__ import annotations

import os

import torch

from .stream import Record


def make_deterministic(how: str) -> None:
    """Ask for deterministic kernels, before the program runs, which may decide otherwise.

    Args:
        how: One of `settings.DETERMINISM`.
    """
    if how != "none":
        # What `torch.use_deterministic_algorithms` does, which takes a second to import the compiler.
        torch._C._set_deterministic_algorithms(True, warn_only=how == "warn")
        os.environ.setdefault("TORCHINDUCTOR_DETERMINISTIC", "1")
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False


def switches() -> Record:
    """Return how they are now."""
    return {
        "num_threads": torch.get_num_threads(),
        "default_dtype": str(torch.get_default_dtype()),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "deterministic_warn_only": torch.is_deterministic_algorithms_warn_only_enabled(),
        "matmul_precision": torch.get_float32_matmul_precision(),
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
    }
