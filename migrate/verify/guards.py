"""What two runs must have done for their agreement to mean something. Loads without torch."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import xxhash

from migrate.verify import views
from migrate.verify.cases import Case, Checkpoints, Side
from migrate.verify.collector import number
from migrate.verify.reported import metric_guards
from migrate.verify.trace.reader import Step, Trace
from migrate.verify.verdict import Guard

_CHUNK = bytes(1 << 20)
_WIDTHS = {"float64": 8, "complex64": 8, "complex128": 16, "float16": 2, "bfloat16": 2}
# What a model of torch alone is made of is no sign of whose code it is.
_LIBRARIES = "site-packages"
# The number 1 as the types that optimizers count steps in.
_ONE = {
    xxhash.xxh3_128_hexdigest(f"torch.{dtype}()".encode() + struct.pack(code, 1))
    for dtype, code in (("float32", "<f"), ("float64", "<d"), ("int64", "<q"))
}


def guards_of(reference: Trace, candidate: Trace, case: Case) -> list[Guard]:
    """Return every condition and whether it holds; features are asked of both runs."""
    steps = min(len(reference.steps), len(candidate.steps))
    found = [Guard("steps", steps >= case.steps, f"{steps} steps, at least {case.steps} are asked")]
    found += [_changed(reference, case.changed_share), _gradients(reference, case.changed_share)]
    found += [*_lone(case, reference, candidate), *metric_guards(case, reference, candidate)]
    found += _checkpoints(case, reference, candidate)
    for feature in case.features:
        sides = (reference, case.only_reference), (candidate, case.only_candidate)
        seen = [_active(feature, trace, lone_names(trace, lone)) for trace, lone in sides]
        missing = [name for name, there in zip(("reference", "candidate"), seen, strict=True) if not there]
        detail = f"never active in the {' and the '.join(missing)}" if missing else "active in both"
        found.append(Guard(f"feature {feature}", not missing, detail))
    for name, side, trace in (("reference", case.reference, reference), ("candidate", case.candidate, candidate)):
        if side.code:
            found.append(_origin(name, side, case.folder, trace))
    return found


def lone_names(trace: Trace, patterns: Mapping[str, str]) -> frozenset[str]:
    """Return the names that the patterns fit, of buffers and frozen parameters that no optimizer ever has."""
    trained = {tensor["name"] for names in trace.names for tensor in names.parameters}
    there = {tensor["name"] for names in trace.names for tensor in (*names.buffers, *names.frozen)}
    return frozenset(name for name in there - trained if any(re.fullmatch(one, name) for one in patterns))


def _lone(case: Case, reference: Trace, candidate: Trace) -> Iterator[Guard]:
    """Ask whether there still is what the case says that only one side has."""
    for who, trace, patterns in (
        ("reference", reference, case.only_reference),
        ("candidate", candidate, case.only_candidate),
    ):
        for pattern, reason in patterns.items():
            count = len(lone_names(trace, {pattern: reason}))
            yield Guard(f"only in the {who}", count > 0, f"{count} tensors fit {pattern!r}: {reason}")


def _checkpoints(case: Case, reference: Trace, candidate: Trace) -> Iterator[Guard]:
    """Ask whether there is what the case says of checkpoints."""
    rules = case.checkpoints
    if rules.ignore:
        count = sum(len(side.checkpoints) for side in (reference, candidate))
        yield Guard("checkpoints", count > 0, f"{count} are not compared: {rules.reason}")
    elif rules != Checkpoints():
        steps = {one.after_step for one in candidate.checkpoints}
        met = [one for one in reference.checkpoints if rules.moments == "all" or one.after_step in steps]
        view = views.View(reference, checkpoint_names=rules.names)
        count = sum(len(views.saved(view, one, rules.only)) for one in met)
        yield Guard("checkpoints", count > 0, f"{count} entries of checkpoints are compared")


def _changed(trace: Trace, share: float) -> Guard:
    """Ask whether training changed the parameters that it trains."""
    start = {tensor["name"]: tensor["digest"] for names in trace.names[:1] for tensor in names.parameters}
    last: dict[str, str | None] = {}
    for step in trace.steps:
        last |= step.tensors.get("parameters", {})
    if not last:
        roots = {step.roots.get("parameters") for step in trace.steps}
        holds = len(roots) > 1
        return Guard("changed", holds, f"{len(roots)} states of all parameters together; level full tells each")
    changed = [name for name, digest in last.items() if digest != start.get(name)]
    detail = f"{len(changed)} of {len(last)} trainable tensors changed, {share:.0%} are asked"
    return Guard("changed", len(changed) >= math.ceil(share * len(last)), detail)


def _gradients(trace: Trace, share: float) -> Guard:
    """Ask whether gradients were there and not zero."""
    forms = {tensor["name"]: tensor for names in trace.names for tensor in names.parameters}
    alive, known = set[str](), set[str]()
    zeros: dict[tuple[str, str], str] = {}
    for step in trace.steps:
        for name, digest in step.tensors.get("gradients", {}).items():
            known.add(name)
            if name in alive or digest is None or name not in forms:
                continue
            key = str(forms[name]["dtype"]), str(forms[name]["shape"])
            if key not in zeros:
                zeros[key] = _zero_digest(forms[name])
            if digest != zeros[key]:
                alive.add(name)
    if not known:
        norms = [number(clip["norm"]) for step in trace.steps for clip in step.clips]
        holds = not norms or any(norms)
        return Guard("gradients", holds, "known at level full only" if not norms else f"{len(norms)} norms")
    detail = f"{len(alive)} of {len(known)} trainable tensors had a gradient that is not zero, {share:.0%} are asked"
    return Guard("gradients", len(alive) >= math.ceil(share * len(known)), detail)


def _zero_digest(form: dict[str, Any]) -> str:
    """Return the digest that the trace has for zeros of this form; see docs/trace_format.md."""
    dtype = str(form["dtype"]).removeprefix("torch.")
    left = math.prod(form["shape"]) * _WIDTHS.get(dtype, 4)
    shape = tuple(form["shape"])
    state = xxhash.xxh3_128(f"torch.{dtype}{shape}".encode())
    while left > 0:
        state.update(_CHUNK[: min(left, len(_CHUNK))])
        left -= len(_CHUNK)
    return state.hexdigest()


def _origin(name: str, side: Side, folder: Path, trace: Trace) -> Guard:
    """Ask whether the models of a run are defined in the folders that the case names, and nowhere else."""
    allowed = [(folder / one).resolve() for one in side.code]
    files = {str(one["file"]) for names in trace.names for one in (*names.roots, *names.optimizers) if one.get("file")}
    own = {file for file in files if _LIBRARIES not in Path(file).parts}
    foreign = sorted(file for file in own if not any(Path(file).resolve().is_relative_to(one) for one in allowed))
    inside = sorted(own - set(foreign)) or _script(trace, allowed)
    where = ", ".join(map(str, side.code))
    if foreign:
        return Guard(f"code of the {name}", False, f"{foreign[0]} is not below {where}")
    detail = f"{inside[0]} is below {where}" if inside else f"nothing of it is below {where}"
    return Guard(f"code of the {name}", bool(inside), detail)


def _script(trace: Trace, allowed: list[Path]) -> list[str]:
    """Return the words of the command that are files in the folders: the script, where models are torch's own."""
    cwd = Path(trace.header.get("cwd") or ".")
    words = [cwd / word for word in trace.header.get("command") or [] if word.endswith(".py")]
    return [str(word) for word in words if any(word.resolve().is_relative_to(one) for one in allowed)]


def _windows(trace: Trace) -> list[tuple[int, int]]:
    """Return the optimizer and the number of backward passes of each step."""
    return [(step.optimizer, len(views.effective_losses(step, step.optimizer))) for step in trace.steps]


def _rates(trace: Trace) -> Iterator[tuple[Any, ...]]:
    for step in trace.steps:
        yield (step.optimizer, *(group.get("lr") for group in step.groups))


def _schedule(trace: Trace) -> bool:
    return len(set(_rates(trace))) > len({step.optimizer for step in trace.steps})


def _drew(step: Step) -> bool:
    """Tell whether torch drew numbers in a step in which no loader began, which draws a seed."""
    drawn = any(one.get("draws") for name, one in step.rng.items() if name.startswith(("torch", "cuda")))
    return drawn and not any(event.startswith("iter") for event in step.phases)


def _buffers(trace: Trace, lone: frozenset[str] = frozenset()) -> bool:
    """Tell whether buffers changed; with some that are not compared, whether others did."""
    if not lone:
        return len({step.roots.get("buffers") for step in trace.steps} - {None}) > 1
    tables = [step.tensors.get("buffers", {}) for step in trace.steps]
    return any({**table, **dict.fromkeys(lone)} != {**tables[0], **dict.fromkeys(lone)} for table in tables)


def _groups(trace: Trace) -> bool:
    return any(len({str(sorted(group.items())) for group in views.hyper(step)}) > 1 for step in trace.steps)


def _resumed(trace: Trace) -> bool:
    """Tell whether the first step found an optimizer that had a state, or had counted steps before, as Adam does."""
    if any(optimizer.get("resumed") for names in trace.names[:1] for optimizer in names.optimizers):
        return True
    counts = {
        digest
        for step in trace.steps[:1]
        for name, digest in step.tensors.get("state", {}).items()
        if name.endswith(".step")
    }
    return bool(counts) and counts.isdisjoint(_ONE)


def _active(feature: str, trace: Trace, lone: frozenset[str]) -> bool:
    return _buffers(trace, lone) if feature == "buffers" else FEATURES[feature](trace)


FEATURES: dict[str, Callable[[Trace], bool]] = {
    "accumulation": lambda trace: any(passes > 1 for _, passes in _windows(trace)),
    "best": lambda trace: any(one.best or "best" in (one.file or "") for one in trace.checkpoints),
    "buffers": _buffers,
    "checkpoint": lambda trace: bool(trace.checkpoints),
    "clip": lambda trace: any(clip.get("active") for step in trace.steps for clip in step.clips),
    "dropout": lambda trace: any(_drew(step) for step in trace.steps),
    "evaluation": lambda trace: any(one.forwards for one in trace.evaluations),
    "groups": _groups,
    "partial_window": lambda trace: len(set(_windows(trace))) > len({step.optimizer for step in trace.steps}),
    "resume": _resumed,
    "scaler": lambda trace: any(step.scaler for step in trace.steps),
    "schedule": _schedule,
}
