"""A small trace written record by record, for tests of what reads traces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from migrate.verify.trace.recording.stream import FORMAT, Writer, seal

A, B = "a" * 32, "b" * 32


def header(**changes: Any) -> dict[str, Any]:
    start = {"kind": "header", "format": FORMAT, "tool": "0", "level": "full", "window": None, "command": ["train"]}
    place = {"cwd": "/", "started": "2026-01-01T00:00:00+00:00", "launched": False, "rank": 0, "world_size": 1}
    return {**start, **place, "process": 0, "expected": [], "fingerprint": {"torch": "2"}, **changes}


def names() -> dict[str, Any]:
    def tensor(name: str) -> dict[str, Any]:
        return {"name": name, "shape": [2], "dtype": "torch.float32", "digest": A, "aliases": []}

    return {
        "kind": "names",
        "number": 0,
        "roots": [{"class": "models.Net", "file": "/models.py", "compiled": False, "wrapped": []}],
        "parameters": [tensor("weight"), tensor("bias")],
        "buffers": [tensor("mean")],
        "frozen": [],
        "optimizers": [{"class": "torch.optim.SGD", "file": "/sgd.py", "groups": [[0], [1]]}],
        "entries": [{"path": "", "root": 0, "class": "models.Net"}],
    }


def step(number: int, **changes: Any) -> dict[str, Any]:
    first = {"state_table": [[0, "momentum"]]} if number == 0 else {}
    return {
        "kind": "step",
        "number": number,
        "optimizer": 0,
        "optimizer_step": number,
        "names": 0,
        "phases": ["zero:0", "batch:0", "forward:0", "backward", "step:0"],
        "losses": [(1.0 / (number + 1)).hex()],
        "groups": [{"lr": (0.1).hex(), "members": A}, {"lr": (0.2).hex(), "members": B}],
        "roots": dict.fromkeys(("parameters", "gradients", "buffers", "state"), A),
        "rng": {"torch": {"digest": B, "draws": 4}},
        "tensors": {"parameters": A + B, "gradients": A + "0" * 32, "buffers": B, "state": A},
        **first,
        **changes,
    }


def footer(steps: int, **changes: Any) -> dict[str, Any]:
    counts = {"steps": steps, "evaluations": 0, "checkpoints": 0, "records": steps + 2}
    hooks: dict[str, Any] = {"fired": {"step": steps}, "never_fired": [], "notes": []}
    return {"kind": "footer", **counts, **hooks, "exception": None, "error": None, "root": A, **changes}


def write(path: Path, records: list[dict[str, Any]]) -> Path:
    """Write a trace with a seal."""
    writer = Writer(path)
    for record in records:
        writer.write(record)
    writer.close()
    seal(path)
    return path


def whole(path: Path, steps: int = 3) -> Path:
    """Write a complete trace of so many steps."""
    return write(path, [header(), names(), *map(step, range(steps)), footer(steps)])
