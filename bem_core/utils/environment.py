"""What a run depends on besides its configuration: versions, the state of the code, hardware, variables.

Torch is imported by the functions that ask it, so that the others answer where it is not installed.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from bem_core import __version__

DISTRIBUTION = "bem-migrate"
_PREFIXES = "CUBLAS_ CUDA_ CUDNN_ GLOO_ MKL_ NCCL_ NVIDIA_ OMP_ PYTORCH_ SLURM_ TORCH_ TORCHELASTIC_".split()
_NAMES = "LOCAL_RANK LOCAL_WORLD_SIZE MASTER_ADDR MASTER_PORT PYTHONHASHSEED RANK WORLD_SIZE".split()
_SECRET = re.compile("key|token|secret|passw|credential", re.IGNORECASE)


def describe_environment(folder: Path | str | None = None) -> dict[str, Any]:
    """Return all of it as plain data, for ``environment.json``.

    Args:
        folder: A folder in the repository whose commit counts; the current one by default.
    """
    return {
        "bem_core": __version__,
        "command": sys.argv,
        "python": {"version": platform.python_version(), "executable": sys.executable},
        "packages": package_versions(),
        "git": git_state(folder),
        "hardware": hardware(),
        "devices": devices(),
        "variables": variables(),
    }


def package_versions() -> dict[str, str | None]:
    """Return the versions of the packages that this one names, those of its extras too; None for those not there."""
    names = {requirement.name for requirement in _requirements()} | {"numpy", "torch"}
    return {name: installed_version(name) for name in sorted(names, key=str.lower)}


def installed_version(name: str) -> str | None:
    """Return the version of a distribution, without importing it, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _requirements() -> list[Requirement]:
    try:
        lines = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return []
    return [Requirement(line) for line in lines]


def extras() -> dict[str, list[str]]:
    """Return for each extra of this distribution what it lacks here; an extra that is complete lacks nothing."""
    try:
        names = metadata.metadata(DISTRIBUTION).get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:
        return {}
    return {name: [text for one in _requirements_of(name) if (text := _lack(one))] for name in sorted(names)}


def _requirements_of(extra: str) -> list[Requirement]:
    return [
        one
        for one in _requirements()
        if one.marker and one.marker.evaluate({"extra": extra}) and not one.marker.evaluate({"extra": ""})
    ]


def _lack(requirement: Requirement) -> str:
    version = installed_version(requirement.name)
    wanted = f"{requirement.name}{requirement.specifier}"
    if version is None:
        return f"{wanted} (not installed)"
    return "" if requirement.specifier.contains(version, prereleases=True) else f"{wanted} ({version} is installed)"


def git_state(folder: Path | str | None = None) -> dict[str, Any] | None:
    """Return the commit, the branch (None if detached) and whether files differ; None outside of a repository."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    changes = _git(folder, "status", "--porcelain")
    branch = _git(folder, "symbolic-ref", "--short", "--quiet", "HEAD")
    return {"commit": commit, "branch": branch, "dirty": None if changes is None else bool(changes)}


def _git(folder: Path | str | None, *args: str) -> str | None:
    # Reading must not write: `status` would refresh the index.
    command = ["git", "--no-optional-locks", "-C", str(folder or Path.cwd()), *args]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True, errors="replace")
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def hardware() -> dict[str, Any]:
    """Return the system, its host, processor, number of cores that this process may use, and memory."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "system": platform.platform(),
        "host": platform.node(),
        "processor": _processor(),
        "num_cores": cores,
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor()
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1] if found else platform.machine()


def devices() -> dict[str, Any]:
    """Return what torch sees: its versions of CUDA and cuDNN, and its accelerators; empty without torch."""
    try:
        import torch
    except ImportError:
        return {}
    cuda = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return {
        "cuda_version": torch.version.cuda,
        "cudnn_version": torch.backends.cudnn.version() if cuda else None,  # type: ignore[no-untyped-call]
        "cuda": [
            {"name": one.name, "memory_bytes": one.total_memory, "capability": f"{one.major}.{one.minor}"}
            for one in cuda
        ],
        "mps": torch.backends.mps.is_available(),
        "num_threads": torch.get_num_threads(),
    }


def variables() -> dict[str, str]:
    """Return the environment variables that change how torch and its libraries run; none that looks like a secret."""
    return {
        name: value
        for name, value in sorted(os.environ.items())
        if (name in _NAMES or name.startswith(tuple(_PREFIXES))) and not _SECRET.search(name)
    }
