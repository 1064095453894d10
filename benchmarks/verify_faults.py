"""Which faults of a training ``bem-migrate verify compare`` finds, where, and what a comparison of losses would find.

    python benchmarks/verify_faults.py [--seed 0] [--identical 200] [--all]

Every fault of ``tests/verify/faults`` begins at a random step of each small training that it can be in. Found means the
verdict ``different`` at the first step at which any channel can differ; the phase is that of the first difference. The
other columns are the same runs judged by less: the old criterion (last loss within 5 %), all losses within the
tolerances of `torch.testing.assert_close`, and all parameters after each step bit for bit. Then runs of identical sides
and of refactorings that change nothing: each verdict but ``identical`` is a false alarm. Exit code 1 where a fault is
missed, fewer than 95 % are in the right phase, or there is a false alarm.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from migrate.verify.cases import plain_case
from migrate.verify.collector import number
from migrate.verify.compare import compare
from migrate.verify.trace.reader import Trace
from migrate.verify.verdict import Outcome
from tests.verify.faults import FAULTS
from tests.verify.refactorings import REFACTORINGS
from tests.verify.toys import TRAININGS, Toy

# Defaults of torch.testing.assert_close for 32 bits.
RTOL, ATOL = 1.3e-6, 1e-5
PEERS = ("last loss within 5 %", "losses by assert_close", "parameters bit for bit")


@dataclass
class Count:
    """Injections of faults of one phase."""

    injected: int = 0
    found: int = 0
    at_first_step: int = 0
    in_phase: int = 0
    peers: Counter[str] = field(default_factory=Counter)


def losses(trace: Trace) -> list[float]:
    """Return the losses that backward passes began with."""
    return [value for step in trace.steps for text in step.losses if (value := number(text)) is not None]


def seen_by_peers(reference: Trace, candidate: Trace) -> list[str]:
    """Return which of the lesser criteria tell two runs apart."""
    one, other = losses(reference), losses(candidate)
    far = len(one) != len(other) or any(abs(a - b) > ATOL + RTOL * abs(a) for a, b in zip(one, other, strict=True))
    roots = [[step.roots["parameters"] for step in trace.steps] for trace in (reference, candidate)]
    verdicts = (abs(other[-1] - one[-1]) > 0.05 * abs(one[-1]), far, roots[0] != roots[1])
    return [name for name, seen in zip(PEERS, verdicts, strict=True) if seen]


def inject(folder: Path, chance: random.Random, console: Console, everything: bool) -> dict[str, Count]:
    """Inject every fault into every training that it can be in; return counts by phase."""
    clean: dict[str, tuple[Toy, Trace]] = {}
    for name, kind in TRAININGS.items():
        toy = kind(folder)
        clean[name] = toy, toy.record(folder / f"{name}.trace")
    counts: dict[str, Count] = {}
    for fault in FAULTS:
        for name in fault.trainings:
            at = chance.randint(*fault.begins)
            toy, reference = clean[name]
            candidate = fault.make(TRAININGS[name])(folder, at).record(folder / "candidate.trace")
            first = compare(reference, candidate, plain_case()).first
            expected = fault.first(toy, at)
            count = counts.setdefault(fault.phase, Count())
            count.injected += 1
            count.found += first is not None
            count.at_first_step += first is not None and first.step == expected
            count.in_phase += first is not None and first.phase == fault.phase
            count.peers.update(seen_by_peers(reference, candidate))
            if everything or first is None or (first.step, first.phase) != (expected, fault.phase):
                console.print(f"{name}, step {at}: {fault.name}: expected step {expected}, {fault.phase}; {first}")
    return counts


def table_of(counts: dict[str, Count]) -> Table:
    """Return the table of all phases, with their sum."""
    table = Table("phase", box=None, pad_edge=False)
    for name in ("injected", "found", "at the first step", "in its phase", *PEERS):
        table.add_column(name, justify="right")
    total = Count()
    for count in counts.values():
        for name in ("injected", "found", "at_first_step", "in_phase"):
            setattr(total, name, getattr(total, name) + getattr(count, name))
        total.peers += count.peers
    for phase, count in [*counts.items(), ("all", total)]:
        cells = (count.injected, count.found, count.at_first_step, count.in_phase, *(count.peers[p] for p in PEERS))
        table.add_row(phase, *map(str, cells))
    counts["all"] = total
    return table


def alarms(folder: Path, identical: int) -> tuple[list[str], int]:
    """Return the false alarms among identical runs and refactorings, and how many runs there were."""
    found, runs = [], 0
    for name, kind in TRAININGS.items():
        reference = kind(folder).record(folder / "reference.trace")
        for _ in range(identical // len(TRAININGS)):
            runs += 1
            verdict = compare(reference, kind(folder).record(folder / "candidate.trace"), plain_case())
            found += [f"{name}: {verdict.reasons[0]}"] if verdict.outcome is not Outcome.IDENTICAL else []
    reference = Toy(folder).record(folder / "reference.trace")
    for name, (make, names) in REFACTORINGS.items():
        runs += 1
        verdict = compare(reference, make(Toy)(folder).record(folder / "candidate.trace"), plain_case(names=names))
        found += [f"{name}: {verdict.reasons[0]}"] if verdict.outcome is not Outcome.IDENTICAL else []
    return found, runs


def main() -> int:
    """Inject, compare and print; see the top of the file for the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=0, help="of the steps at which faults begin; default %(default)s")
    parser.add_argument("--identical", type=int, default=200, help="runs of identical sides; default %(default)s")
    parser.add_argument("--all", action="store_true", help="print what was found of each fault")
    given = parser.parse_args()
    console = Console(width=160)
    with tempfile.TemporaryDirectory() as name:
        counts = inject(Path(name), random.Random(given.seed), console, given.all)
        console.print(f"{len(FAULTS)} faults, seed {given.seed}")
        console.print(table_of(counts))
        false, runs = alarms(Path(name), given.identical)
    console.print(f"{runs} runs that are the same ({len(REFACTORINGS)} of them refactored): {len(false)} false alarms")
    for alarm in false:
        console.print(f"  {alarm}")
    total = counts["all"]
    missed = total.injected - total.at_first_step
    return int(bool(missed or false or total.in_phase < 0.95 * total.injected))


if __name__ == "__main__":
    sys.exit(main())
