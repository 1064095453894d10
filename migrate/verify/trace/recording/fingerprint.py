"""The first record: what a run depends on besides its own code and data."""

from __future__ import annotations

import datetime
import itertools
import os
import platform
import sys
from importlib import metadata
from pathlib import Path

import torch
import xxhash

from .settings import Settings
from .stream import FORMAT, Record
from .switches import switches

_PREFIXES = ("ATEN_", "CUBLAS_", "CUDA_", "CUDNN_", "KMP_", "MKL_", "NCCL_", "OMP_", "OPENBLAS_", "PYTORCH_", "TORCH_")
# Set by importing scikit-learn; about loading and forking, no matter of numbers.
_HARMLESS = frozenset({"KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK"})
_PACKAGES = ("accelerate", "datasets", "numpy", "peft", "scipy", "tokenizers", "torch", "torchvision", "transformers")


def place() -> tuple[int, int]:
    """Return the rank of this process and the number of processes."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def start(settings: Settings) -> tuple[Record, Path]:
    """Return the header, and the file that this process has made to write its trace to.

    Raises:
        OSError: The file cannot be made.
    """
    rank, world_size = place()
    base = f"{settings.out}.rank{rank}" if rank else settings.out
    process = _claim(base) if settings.launcher else 0
    path = Path(f"{base}.process{process}" if process else base)
    if not settings.launcher:
        path.write_bytes(b"")
    header = {
        "kind": "header",
        "format": FORMAT,
        "tool": settings.tool,
        "level": settings.level,
        "window": settings.window,
        "stop_after": settings.stop_after or None,
        "command": settings.command,
        "cwd": os.getcwd(),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "launched": bool(settings.launcher),
        "rank": rank,
        "world_size": world_size,
        "process": process,
        "fingerprint": fingerprint(),
    }
    return header, path


def fingerprint() -> Record:
    """Return the environment as plain data; two runs with another one cannot be expected to agree."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processor": _processor(),
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
        "torch_build": xxhash.xxh3_128_hexdigest(torch.__config__.show().encode()),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        **switches(),
        "num_interop_threads": torch.get_num_interop_threads(),
        "mkldnn": bool(torch.backends.mkldnn.is_available()),  # type: ignore[no-untyped-call]
        "devices": [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())],
        "hash_seed": os.environ.get("PYTHONHASHSEED"),
        "variables": {
            name: os.environ[name]
            for name in sorted(os.environ)
            if name.startswith(_PREFIXES) and name not in _HARMLESS
        },
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _claim(base: str) -> int:
    """Make the first file that no process has made; its number is 0 for the name as it is."""
    for number in itertools.count():
        try:
            Path(f"{base}.process{number}" if number else base).open("xb").close()
            return number
        except FileExistsError:
            continue
    raise AssertionError("numbers do not end")


def unused(settings: Settings) -> bool:
    """Tell whether no process has made a file for its trace."""
    out = Path(settings.out)
    return not any(one.name == out.name or one.name.startswith(f"{out.name}.rank") for one in out.parent.iterdir())
