"""Reading a trace, also one that is being written, was cut off or is damaged: all of it that can be trusted.

What is left out, and why, is in `Trace.problem`; without a problem a trace is complete. docs/trace_format.md says what
the fields mean.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bem_core.errors import BemError
from migrate.verify.trace.recording.stream import CHAIN_START, FORMAT, SEAL_BYTES, chained, seal_of

_CHUNK_BYTES = 1 << 16
_DIGEST = 32  # characters
_ABSENT = "0" * _DIGEST
_UNFINISHED = "no footer: the run goes on, or its process ended before it could write one"
_PREFIX = b'{"chain":"'
TENSOR_KINDS = ("parameters", "gradients", "buffers", "state")


class TraceError(BemError):
    """A file is no trace, or one that this version cannot read."""


@dataclass(frozen=True, slots=True)
class Names:
    """What the numbers in later records stand for; each replaces the one before.

    Attributes:
        number: Counts from 0.
        roots: The outermost modules: ``class``, ``file`` of its code, ``compiled``, ``wrapped`` by which classes.
        parameters: Those of optimizers, by optimizer and group: ``name``, ``shape``, ``dtype``, ``digest`` before the
            first step, ``aliases``.
        buffers: Buffers of the roots, likewise.
        frozen: Parameters of the roots that no optimizer has, likewise.
        optimizers: ``class``, ``file``, and ``groups``: lists of numbers of parameters.
        entries: The modules that the program calls: ``path`` in its root, ``root``, ``class``.
    """

    number: int
    roots: list[dict[str, Any]]
    parameters: list[dict[str, Any]]
    buffers: list[dict[str, Any]]
    frozen: list[dict[str, Any]]
    optimizers: list[dict[str, Any]]
    entries: list[dict[str, Any]]

    def members(self, optimizer: int) -> list[list[str]]:
        """Return the names in each group of an optimizer, in order."""
        groups = self.optimizers[optimizer]["groups"]
        return [[self.parameters[number]["name"] for number in group] for group in groups]


@dataclass(slots=True)
class Events:
    """What happened in a stretch of the run, in order.

    Attributes:
        phases: The order of events, such as ``zero:0``, ``batch:0``, ``forward:0``, ``backward``, ``step:0``.
        losses: What `backward` started from: ``float.hex`` of scalars, else a digest.
        components: Values of loss functions: name and ``float.hex``, or digest.
        batches: From loaders: ``loader``, ``digest``, ``indices``.
        forwards: Calls of outermost modules: ``entry``, ``mode``, ``grad``, ``inputs``, ``outputs``, and of each
            tensor in them ``input_tensors``, ``output_tensors``; ``rng`` before.
        clips: ``kind``, ``norm`` before, ``max_norm``, ``norm_type``, ``coefficient``, ``active``, ``num``.
        metrics: Names and values that the program or a test gave.
        scaler: Events of a GradScaler: ``event``, ``scale``, ``growth_tracker``, ``skipped``.
        draws: Calls that drew random numbers, with their place (level ``deep``).
        calls: Modules called, with digests (level ``deep``).
    """

    phases: list[str] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)
    components: list[list[str]] = field(default_factory=list)
    batches: list[dict[str, Any]] = field(default_factory=list)
    forwards: list[dict[str, Any]] = field(default_factory=list)
    clips: list[dict[str, Any]] = field(default_factory=list)
    metrics: list[list[str]] = field(default_factory=list)
    scaler: list[dict[str, Any]] = field(default_factory=list)
    draws: list[dict[str, Any]] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True)
class Step(Events):
    """One call of `Optimizer.step`, with what happened since the one before.

    Attributes:
        number: Counts the calls of all optimizers from 0; those outside of the window count.
        optimizer: Number of the optimizer in `Names.optimizers`.
        optimizer_step: Counts the calls of this optimizer from 0.
        names: Number of the `Names` that hold.
        groups: Hyper-parameters of each group during the step, floats as ``float.hex``, and ``members``, a digest of
            the names.
        roots: Digest of all ``parameters`` (after the step), ``gradients`` (before), ``buffers`` and ``state`` (after)
            of this optimizer; None where the level leaves it out.
        rng: Digest of each generator after the step, and ``draws`` since the record before, None if unknown.
        modes: Digest of the training flags of all modules.
        closures: How many backward passes the optimizer asked for within the step.
        tensors: Digest by name for each of `TENSOR_KINDS` (level ``full``); None for a gradient that is not there.
    """

    number: int = 0
    optimizer: int = 0
    optimizer_step: int = 0
    names: int = 0
    groups: list[dict[str, Any]] = field(default_factory=list)
    roots: dict[str, str | None] = field(default_factory=dict)
    rng: dict[str, dict[str, Any]] = field(default_factory=dict)
    modes: str | None = None
    closures: int = 0
    tensors: dict[str, dict[str, str | None]] = field(default_factory=dict)


@dataclass(slots=True)
class Evaluation(Events):
    """What happened while the trained model was in evaluation mode.

    Attributes:
        number: Counts from 0.
        after_step: How many steps were done before.
        rng_before: Generators when it began.
        rng: Generators when it ended.
        ended: By what: ``mode``, ``backward``, ``step`` or ``end`` of the run; None in older traces.
    """

    number: int = 0
    after_step: int = 0
    rng_before: dict[str, dict[str, Any]] = field(default_factory=dict)
    rng: dict[str, dict[str, Any]] = field(default_factory=dict)
    ended: str | None = None


@dataclass(slots=True)
class Rest(Events):
    """What happened after the last step, and what is left at the end.

    Attributes:
        optimizers: For each, its ``groups`` as in `Step`, and ``roots``.
        frozen: Digest of all frozen parameters; None if some are gone.
        rng: Generators at the end.
    """

    optimizers: list[dict[str, Any]] = field(default_factory=list)
    frozen: str | None = None
    rng: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A call of a function that saves.

    Attributes:
        number: Counts from 0.
        after_step: How many steps were done before.
        file: Name of the file, without its folder; None for a stream.
        digest: Digest of all entries.
        entries: By dotted key: ``tensor:`` and a digest, or the type and the value.
        function: Its name.
        best: Whether the program called it the best one.
    """

    number: int
    after_step: int
    file: str | None
    digest: str
    entries: dict[str, str]
    function: str = "torch.save"
    best: bool = False


@dataclass(slots=True)
class Trace:
    """A recorded run.

    Attributes:
        path: The file.
        header: Format, command, level, window, rank, fingerprint of the environment.
        problem: Why the trace is not complete; None if it is.
        names: All records of names, by number.
        rest: None where it was not reached.
        footer: Counts, hooks that fired and that never did, how the program ended; None where it was not reached.
        exit: ``code``, ``signal``, ``timed_out`` of a command; None for a trace of a block, or where it is missing.
    """

    path: Path
    header: dict[str, Any]
    problem: str | None = None
    names: list[Names] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    checkpoints: list[Checkpoint] = field(default_factory=list)
    rest: Rest | None = None
    footer: dict[str, Any] | None = None
    exit: dict[str, Any] | None = None

    @property
    def complete(self) -> bool:
        """Whether the file is whole, nothing in it was changed, and the run that it is of ended well."""
        return self.problem is None

    def names_of(self, step: Step) -> Names:
        """Return the names that hold at a step."""
        return self.names[step.names]


@dataclass(slots=True)
class Raw:
    """The lines of a file that can be trusted.

    Attributes:
        records: Decoded, without their chain.
        chain: Chain value of the last one.
        problem: Why there are no more; None if the file ends after them.
        sealed: Whether the seal at the end fits all bytes.
    """

    records: list[dict[str, Any]]
    chain: str
    problem: str | None
    sealed: bool


def read_trace(path: Path | str) -> Trace:
    """Read a trace.

    Raises:
        TraceError: The file cannot be read, does not begin like a trace, or has another version of the format.
    """
    path = Path(path)
    raw = read_records(path)
    trace = Trace(path, _checked_header(path, raw))
    tables: dict[int, list[list[Any]]] = {}
    for record in raw.records[1:]:
        _add(trace, record, tables)
    trace.problem = _problem(trace, raw)
    return trace


def read_records(path: Path) -> Raw:
    """Read the lines of a trace up to its end, or to the first that was cut off or changed.

    Raises:
        TraceError: The file cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TraceError(f"{path}: cannot be read: {error.strerror or error}") from error
    sealed = len(data) > SEAL_BYTES and data[-SEAL_BYTES:] == seal_of(data[:-SEAL_BYTES])
    text, problem = _inflate(data[:-SEAL_BYTES] if sealed else data)
    raw = Raw([], CHAIN_START, problem, sealed)
    *lines, partial = text.split(b"\n")
    for number, line in enumerate(lines, 1):
        chain, body = line[len(_PREFIX) : len(_PREFIX) + _DIGEST], b"{" + line[len(_PREFIX) + _DIGEST + 2 :]
        expected = chained(raw.chain, body)
        if line[: len(_PREFIX)] != _PREFIX or chain != expected.encode():
            raw.problem = f"line {number}: not what was written"
            return raw
        raw.chain = expected
        raw.records.append(json.loads(body))
    if partial and not raw.problem:
        raw.problem = f"line {len(lines) + 1}: cut off"
    return raw


def _inflate(data: bytes) -> tuple[bytes, str | None]:
    """Return what can be decompressed, and why it is not all."""
    out, rest = [], memoryview(data)
    while rest:
        stream = zlib.decompressobj(31)
        while rest and not stream.eof:
            chunk, rest = rest[:_CHUNK_BYTES], rest[_CHUNK_BYTES:]
            before = stream.copy()
            try:
                out.append(stream.decompress(chunk))
            except zlib.error as error:
                out.append(_crumbs(before, chunk))
                return b"".join(out), f"damaged: {error}"
        if not stream.eof:
            return b"".join(out), None  # Being written, or cut off; there is no footer then.
        rest = memoryview(data)[len(data) - len(stream.unused_data) - len(rest) :]
    return b"".join(out), None


def _crumbs(stream: Any, chunk: memoryview) -> bytes:
    """Return what comes out before the byte at which decompressing fails."""
    out = []
    for at in range(len(chunk)):
        try:
            out.append(stream.decompress(chunk[at : at + 1]))
        except zlib.error:
            break
    return b"".join(out)


def _checked_header(path: Path, raw: Raw) -> dict[str, Any]:
    if not raw.records or raw.records[0].get("kind") != "header":
        why = f" ({raw.problem})" if raw.problem else ""
        raise TraceError(f"{path}: not a trace{why}: expected a file that `bem-migrate verify trace` wrote")
    found = raw.records[0].get("format")
    if found != FORMAT:
        raise TraceError(
            f"{path}: format {found!r}: expected {FORMAT}; record it again, or read it with its own version"
        )
    return raw.records[0]


def _add(trace: Trace, record: dict[str, Any], tables: dict[int, list[list[Any]]]) -> None:
    kind = record.pop("kind")
    if kind == "names":
        trace.names.append(Names(**record))
    elif kind == "step":
        trace.steps.append(_step(trace.names, record, tables))
    elif kind == "evaluation":
        trace.evaluations.append(Evaluation(**record))
    elif kind == "checkpoint":
        trace.checkpoints.append(Checkpoint(**record))
    elif kind == "rest":
        trace.rest = Rest(**record)
    elif kind == "footer":
        trace.footer = record
    elif kind == "exit":
        trace.exit = record


def _step(names: list[Names], record: dict[str, Any], tables: dict[int, list[list[Any]]]) -> Step:
    packed = record.pop("tensors", {})
    optimizer = record["optimizer"]
    if "state_table" in record:
        tables[optimizer] = record.pop("state_table")
    step = Step(**record)
    if packed:
        table = names[step.names]
        members = [name for group in table.members(optimizer) for name in group]
        known = {
            "parameters": members,
            "gradients": members,
            "buffers": [buffer["name"] for buffer in table.buffers],
            "state": [f"{table.parameters[number]['name']}.{key}" for number, key in tables.get(optimizer, [])],
        }
        step.tensors = {kind: _unpacked(known[kind], text) for kind, text in packed.items()}
    return step


def _unpacked(names: list[str], text: str) -> dict[str, str | None]:
    digests = [text[at : at + _DIGEST] for at in range(0, len(text), _DIGEST)]
    return {name: None if one == _ABSENT else one for name, one in zip(names, digests, strict=True)}


def _problem(trace: Trace, raw: Raw) -> str | None:
    """Return why the trace cannot stand for a whole run that ended well."""
    if raw.problem:
        return raw.problem
    if trace.footer is None:
        return _UNFINISHED
    if trace.footer["error"]:
        return f"the tracer failed: {trace.footer['error']}"
    if trace.footer["exception"]:
        return f"the run ended with {trace.footer['exception']}"
    if trace.header["launched"] and trace.exit is None:
        return "no exit code: the command goes on, or what started it was ended"
    if trace.exit is not None and trace.exit["timed_out"]:
        return "the run was stopped: it took too long"
    if trace.exit is not None and trace.exit["code"] != 0:
        return f"the run ended with exit code {trace.exit['code']}"
    return None if raw.sealed else "no valid seal: bytes were changed, added or cut off"
