"""Puts faults into the project's trainings, each in a process of its own, and says what was found.

    python -m tests.parity.faults.injecting FOLDER [--trainings NAME ...] [--faults TEXT] [--sample N | --each-once]

It starts itself again with the environment that the reference gets. Each line of its output is a JSON object: of an
injection (`running.Injected`), or of a run without a fault (`fault` is null).
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import gc
import importlib
import json
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from migrate.verify.children import pinned_environment
from migrate.verify.structures import changes
from migrate.verify.trace.reader import Trace
from tests.parity.faults import FAULTS, Fault
from tests.parity.faults.running import Injected, injected, replayed
from tests.parity.faults.trainings import TRAININGS, Training

ROOT = Path(__file__).parents[3]
_LIMIT_S = 300


def in_child(work: Callable[..., Injected], *given: Any) -> Injected | str:
    """Do something in a process that inherits all that was imported, and return its result, or how it ended."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if not child:
        gc.disable()
        os.close(read_end)
        signal.alarm(_LIMIT_S)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        code = 1
        try:
            with os.fdopen(write_end, "w") as stream:
                json.dump(dataclasses.asdict(work(*given)), stream)
            code = 0
        finally:
            os._exit(code)
    os.close(write_end)
    with os.fdopen(read_end) as stream:
        text = stream.read()
    _, status = os.waitpid(child, 0)
    return Injected(**json.loads(text)) if text and not status else f"the process ended with {status}"


@functools.lru_cache(maxsize=2)
def recorded(case: str, number: int, level: str, folder: Path) -> Trace:
    """Return what the old trainer did, kept for the children, which need not touch it to share it."""
    trace = TRAININGS[case].seeded(number).reference(folder, level)
    gc.collect()
    gc.freeze()
    return trace


def inject(fault: Fault | None, training: Training, at: int, folder: Path) -> Injected:
    """Put a fault into a training, and replay the step where the loss differs: what is before may be why."""
    reference = recorded(training.case, training.number, "full", folder)
    result = in_child(injected, fault, training, at, reference, folder)
    if isinstance(result, Injected) and result.found == "loss" and fault and not result.failed:
        deep = recorded(training.case, training.number, "deep", folder)
        result = in_child(replayed, fault, training, result, (reference, deep), folder)
    if isinstance(result, Injected):
        return result
    return Injected(fault=fault and fault.name, training=training.case, at=at, failed=result)


def injections(
    chosen: list[Fault], trainings: list[str], chance: random.Random, sample: int
) -> list[tuple[Fault, str]]:
    """Return faults with the trainings that they are put into; with a sample, each of its faults into one of them."""
    pairs = [(fault, name) for fault in chosen for name in fault.trainings if name in trainings]
    if not sample:
        return pairs
    by_fault: dict[str, list[tuple[Fault, str]]] = {}
    for pair in pairs:
        by_fault.setdefault(pair[0].name, []).append(pair)
    names = chance.sample(sorted(by_fault), min(sample, len(by_fault)))
    return [chance.choice(by_fault[name]) for name in names]


def each_once(faults: list[Fault], seed: int) -> list[tuple[Fault, str]]:
    """Return each fault with one of the trainings that it can be in."""
    return injections(faults, list(TRAININGS), random.Random(seed), len(faults))


def warm_up(trainings: list[str]) -> None:
    """Import what children would have to import each."""
    torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])  # It imports the compiler.
    changes({}, {})
    for name in trainings:
        importlib.import_module(TRAININGS[name].module)


def results(given: argparse.Namespace) -> Iterator[Injected]:
    """Record references, put faults in, and yield what became of them."""
    chosen = [one for one in FAULTS if given.faults in one.name]
    warm_up(given.trainings)
    if given.each_once:
        pairs = each_once(chosen, given.seed)
    else:
        pairs = injections(chosen, given.trainings, random.Random(given.seed), given.sample)
    for name in given.trainings:
        own = [fault for fault, training in pairs if training == name]
        if not own and not given.identical:
            continue
        training = TRAININGS[name]
        reference = recorded(name, 0, "full", given.folder)
        steps = max(one.optimizer_step for one in reference.steps if one.optimizer == 0) + 1
        for fault in own:
            yield inject(fault, training, begin(fault, name, steps, given.seed), given.folder)
        for number in range(given.identical):
            yield inject(None, training.seeded(number), 1, given.folder)


def begin(fault: Fault, training: str, steps: int, seed: int) -> int:
    """Return the step at which a fault begins."""
    first, last = fault.begins
    return 1 if last >= steps else random.Random(f"{seed} {fault.name} {training}").randint(first, steps - last)


def pinned() -> None:
    """Go on in the environment that the sides of cases get."""
    wanted = pinned_environment(1, {"PYTHONPATH": str(ROOT)})
    if any(os.environ.get(name) != value for name, value in wanted.items()) or os.environ.keys() - wanted.keys():
        os.execve(sys.executable, [sys.executable, "-m", __spec__.name, *sys.argv[1:]], wanted)
    torch.set_num_threads(1)


def main() -> None:
    """Print a line for each result."""
    pinned()
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="for traces; references in it are used again")
    parser.add_argument("--trainings", nargs="+", default=list(TRAININGS), choices=list(TRAININGS))
    parser.add_argument("--faults", default="", help="only those whose name has this in it")
    some = parser.add_mutually_exclusive_group()
    some.add_argument("--sample", type=int, default=0, help="so many faults, each in one training")
    some.add_argument(
        "--each-once", action="store_true", help="each fault in one of all trainings; those in the ones named are run"
    )
    parser.add_argument(
        "--identical", type=int, default=0, help="runs without a fault, of each training, each with another seed"
    )
    parser.add_argument("--seed", type=int, default=0, help="of steps and samples")
    for result in results(parser.parse_args()):
        sys.stdout.write(f"{json.dumps(dataclasses.asdict(result))}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
