"""Which checkpoints a side wrote, and after how many steps. Loads without torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from migrate.verify.cases import Side
from migrate.verify.trace.reader import Trace


@dataclass(frozen=True, slots=True, order=True)
class Saved:
    """A checkpoint.

    Attributes:
        step: Optimizer steps that were done when it was written.
        path: A file, or a folder.
    """

    step: int
    path: Path


def saved_by(side: Side, out: Path, trace: Trace | None = None) -> list[Saved]:
    """Return the checkpoints that a run has left, by step.

    Where the trace saw a file of that name written, it knows the step; else the number in the name says it. What has
    neither is left out.

    Args:
        side: Has the pattern for their paths.
        out: What the run wrote.
        trace: Of the run.
    """
    if side.checkpoints is None:
        return []
    seen = {one.file: one.after_step for one in trace.checkpoints} if trace is not None else {}
    found = []
    for path in out.rglob("*"):
        name = re.fullmatch(side.checkpoints, path.relative_to(out).as_posix())
        if name is None:
            continue
        number = name[1] if name.re.groups else None
        if path.name in seen:
            found.append(Saved(seen[path.name], path))
        elif number is not None and number.isdecimal():
            found.append(Saved(int(number) * side.checkpoint_steps, path))
    return sorted(found)
