"""What a trace ends with."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from .stream import Record, Writer
from .switches import switches

if TYPE_CHECKING:
    from .recorder import Recorder


def refuse_compiled_steps(recorder: Recorder) -> None:
    """Leave a trace incomplete whose program compiled the steps of its optimizers, which no hook sees."""
    dynamo = sys.modules.get("torch._dynamo")
    compiled = dynamo is not None and dynamo.utils.counters["frames"]["total"]
    if recorder.fired["backward"] and not recorder.fired["step"] and compiled:
        recorder.error = "a compiled Optimizer.step cannot be recorded; compile the model alone"


def footer(recorder: Recorder, writer: Writer) -> Record:
    """Return the last record, once all others are written."""
    writer.flush()
    counts = {
        "steps": recorder.num_steps,
        "evaluations": recorder.num_evaluations,
        "checkpoints": recorder.output.num_checkpoints,
    }
    return {
        "kind": "footer",
        **counts,
        "records": writer.num_records,
        "fired": dict(sorted(recorder.fired.items())),
        "never_fired": sorted(hook for hook in recorder.expected if not recorder.fired[hook]),
        "stopped_after": recorder.num_steps if recorder.stopped else None,
        "notes": recorder.notes,
        "not_found": recorder.not_found,
        "switches": switches(),
        "exception": recorder.exception,
        "error": recorder.error,
        "root": writer.root.hexdigest(),
    }
