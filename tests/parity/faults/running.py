"""One run of our trainer with a fault, compared with the old trainer, and replayed where that says more."""

from __future__ import annotations

import dataclasses
import os
import random
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from bem_core.training.base_trainer import BaseTrainer
from bem_core.training.step import Stepper
from migrate.verify.compare import compare
from migrate.verify.localise import cause_of, localise
from migrate.verify.phases import PHASES
from migrate.verify.trace.reader import Trace, read_trace
from migrate.verify.trace.recording.switches import make_deterministic
from migrate.verify.trace.session import tracing
from migrate.verify.verdict import Divergence
from tests.parity.faults.catalogue import Fault, Run
from tests.parity.faults.trainings import Training
from tests.verify.peers import seen_by_peers


@dataclass(kw_only=True)
class Injected:
    """What became of a fault.

    Attributes:
        fault: Its name; None for a run without one.
        training: Name of the training.
        at: Step at which it began.
        phase: Where it must show first.
        expected: Step of an optimizer at which it must be found; None where it changed nothing.
        step: Where it was found; None where it was not.
        found: The phase in which it was found.
        channel: Of what was found.
        key: The name of it.
        replayed: The phase in which a replay of the step finds the cause; nothing where there was none.
        module: That it names.
        told: What was found.
        outcome: Of the comparison.
        peers: Lesser criteria that tell the runs apart.
        failed: Why the run failed, if it did.
    """

    fault: str | None
    training: str
    at: int
    phase: str = ""
    expected: int | None = None
    step: int | None = None
    found: str = ""
    channel: str = ""
    key: str = ""
    replayed: str = ""
    module: str = ""
    told: str = ""
    outcome: str = ""
    peers: list[str] = dataclasses.field(default_factory=list)
    failed: str = ""


def watch(run: Run) -> None:
    """Keep a run's counters."""

    def setup(original: Any, trainer: Any, *args: Any) -> None:
        run.trainer = trainer
        original(trainer, *args)

    def step(original: Any, stepper: Stepper, *args: Any) -> Any:
        run.step += 1
        return original(stepper, *args)

    def evaluate(original: Any, trainer: Any) -> Any:
        run.evaluating = True
        try:
            return original(trainer)
        finally:
            run.evaluating = False

    def begin(optimizer: Any, args: Any, kwargs: Any) -> None:
        if run.trainer is not None and optimizer is run.trainer.optimizer:
            tensors = [one for group in optimizer.param_groups for one in group["params"]]
            run.alive = [one for one in tensors if one.grad is not None and one.grad.any()]

    def end(optimizer: Any, args: Any, kwargs: Any) -> None:
        run.calls += 1

    run.around(BaseTrainer, "_set_up", setup)
    run.around(Stepper, "run", step)
    run.around(BaseTrainer, "evaluate", evaluate)
    register_optimizer_step_pre_hook(begin)
    register_optimizer_step_post_hook(end)


def trained(training: Training, run: Run, fault: Fault | None, path: Path, folder: Path, **options: Any) -> str:
    """Run our trainer with a fault, in this process, and record it; return how it failed, if it did."""
    try:
        case = training.read()
        ours = case.candidate
        make_deterministic(case.determinism)
        with tracing(path, metrics=ours.metrics, saves=ours.saves, **options):
            if fault is not None:
                fault.put(run)
            watch(run)
            kept = training.run(folder, path.with_suffix(".out"))
            del kept
    except Exception:  # noqa: BLE001 - a fault may break a run in any way
        return traceback.format_exc()
    return ""


def injected(fault: Fault | None, training: Training, at: int, reference: Trace, folder: Path) -> Injected:
    """Run our trainer with a fault, in this process, and compare."""
    run = new_run(fault, training, at, reference)
    result = Injected(fault=fault and fault.name, training=training.case, at=at)
    path = training.place(folder) / f"{os.getpid()}.trace"
    result.failed = trained(training, run, fault, path, folder)
    candidate = read_trace(path)
    path.unlink()
    verdict = compare(reference, candidate, training.read())
    result.outcome = verdict.outcome.value
    result.expected = run.first
    result.phase = run.phase or (fault.phase_in(training.case) if fault else "")
    if verdict.first is not None:
        result.step, result.found, result.told = verdict.first.step, verdict.first.phase, str(verdict.first)
        result.channel, result.key = verdict.first.channel, verdict.first.key
    elif verdict.reasons:
        result.told = verdict.reasons[0]
    result.peers = seen_by_peers(reference, candidate)
    return result


def new_run(fault: Fault | None, training: Training, at: int, reference: Trace) -> Run:
    return Run(training.case, at, random.Random(f"{fault and fault.name} {training.case}"), reference)


def replayed(
    fault: Fault, training: Training, result: Injected, references: tuple[Trace, Trace], folder: Path
) -> Injected:
    """Run it again with every module recorded at the step that differs, as ``verify run`` does, and say where it is."""
    reference, deep = references
    run = new_run(fault, training, result.at, reference)
    path = training.place(folder) / f"{os.getpid()}.trace"
    assert result.step is not None
    window = max(result.step - 3, 0), max(result.step, 1) + 1
    result.failed = trained(training, run, fault, path, folder, level="deep", steps=window)
    candidate = read_trace(path)
    path.unlink()
    first = Divergence(result.step, result.found, result.channel, result.key, "", "")
    found, _ = localise(deep, candidate, first, training.read().names)
    phases = {cause_of(dataclasses.replace(first, phase=phase)): phase for phase in PHASES}
    return dataclasses.replace(result, replayed=phases.get(found.cause, ""), module=found.module or "")
