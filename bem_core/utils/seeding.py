"""Random numbers: seeding all generators, their state as data, and seeds that depend on a sample alone."""

from __future__ import annotations

import logging
import os
import random
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import xxhash

from bem_core.errors import BemError

_log = logging.getLogger(__name__)

MAX_SEED = 2**64 - 1


def seed_everything(seed: int, deterministic: bool = False) -> None:
    """Seed Python, NumPy's global generator, and torch on the CPU and on all accelerators.

    Args:
        seed: From 0 to ``2**64 - 1``. NumPy takes seeds from ``2**32`` on as two words of 32 bits; torch on the CPU
            looks at the lower 32 bits only (``at::mt19937``), on CUDA at all of them.
        deterministic: Make torch raise where an operation has only a nondeterministic implementation, keep cuDNN from
            choosing algorithms by timing, and give cuBLAS a fixed workspace, which it reads when CUDA starts. False
            leaves these switches as they are.

    Raises:
        BemError: The seed is no integer or out of range.
    """
    if type(seed) is not int or not 0 <= seed <= MAX_SEED:
        raise BemError(f"seed: expected an integer from 0 to 2**64 - 1, got {seed!r}")
    _seed_python_and_numpy(seed)
    torch.manual_seed(seed)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False


def _seed_python_and_numpy(seed: int) -> None:
    random.seed(seed)
    # A list seeds differently from the same number alone, so small seeds give the stream that everybody expects.
    np.random.seed(seed if seed < 2**32 else [seed & 0xFFFFFFFF, seed >> 32])


def seed_worker(worker_id: int) -> None:
    """Seed Python and NumPy in a loader's worker, as its ``worker_init_fn``.

    Torch has seeded itself with the loader's base seed plus the number of the worker, so two workers differ.

    Args:
        worker_id: What the loader passes; the seed of torch contains it already.
    """
    _seed_python_and_numpy(torch.initial_seed())


def rng_state() -> dict[str, Any]:
    """Return the state of all global generators as tensors and plain values, which a checkpoint can hold.

    CUDA is not started for it: as long as it is not in use, its generators have drawn nothing.
    """
    version, words, gauss = random.getstate()
    in_use: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    state: dict[str, Any] = {
        "python": {"version": version, "words": torch.tensor(words, dtype=torch.int64), "gauss": gauss},
        "numpy": _numpy_state(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if in_use else [],
    }
    if torch.backends.mps.is_available():
        state["mps"] = torch.mps.get_rng_state()
    return state


def _numpy_state() -> dict[str, Any]:
    state = np.random.get_state(legacy=False)
    if state["bit_generator"] != "MT19937":
        raise BemError(f"NumPy's global generator is {state['bit_generator']}; only MT19937, its default, can be saved")
    words = torch.from_numpy(state["state"]["key"].astype(np.int64))
    pos, has_gauss, gauss = int(state["state"]["pos"]), int(state["has_gauss"]), float(state["gauss"])
    return {"words": words, "pos": pos, "has_gauss": has_gauss, "gauss": gauss}


def set_rng_state(state: dict[str, Any]) -> None:
    """Put the global generators back to what `rng_state` returned, here or in another process.

    On a machine with fewer CUDA devices, the states of the others are dropped with a warning in the log.
    """
    python = state["python"]
    random.setstate((python["version"], tuple(python["words"].tolist()), python["gauss"]))
    saved = state["numpy"]
    words = saved["words"].cpu().numpy().astype(np.uint32)
    np.random.set_state(("MT19937", words, saved["pos"], saved["has_gauss"], saved["gauss"]))
    torch.set_rng_state(state["torch"].cpu())
    _set_accelerators(state)


def _set_accelerators(state: dict[str, Any]) -> None:
    count = torch.cuda.device_count() if state["cuda"] else 0
    for index, one in enumerate(state["cuda"][:count]):
        torch.cuda.set_rng_state(one.cpu(), index)
    if lost := len(state["cuda"]) - count:
        _log.warning("random states of %d CUDA devices are dropped: only %d devices are visible", lost, count)
    if "mps" in state and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"].cpu())


@contextmanager
def rng_fence() -> Iterator[None]:
    """Let the code inside draw random numbers without changing those that the code after it draws."""
    state = rng_state()
    try:
        yield
    finally:
        set_rng_state(state)


def sample_seed(seed: int, epoch: int, index: int) -> int:
    """Return a 64-bit seed for augmenting one sample, the same whatever worker loads it and in whatever order.

    Args:
        seed: Seed of the run.
        epoch: Pass over the data, so that a sample looks different in each.
        index: Number of the sample in the data set.
    """
    return xxhash.xxh3_64_intdigest(struct.pack("<3Q", *(number & MAX_SEED for number in (seed, epoch, index))))


def sample_generator(seed: int, epoch: int, index: int) -> torch.Generator:
    """Return a generator on the CPU, seeded with `sample_seed`."""
    return torch.Generator().manual_seed(sample_seed(seed, epoch, index))
