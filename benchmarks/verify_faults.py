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
from pathlib import Path

from _faults import Count, table_of, total_of
from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from migrate.verify.cases import plain_case
from migrate.verify.compare import compare
from migrate.verify.trace.reader import Trace
from migrate.verify.verdict import Outcome
from tests.verify.faults import FAULTS
from tests.verify.peers import seen_by_peers
from tests.verify.refactorings import REFACTORINGS
from tests.verify.toys import TRAININGS, Toy


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
            found = None if first is None else (first.step, first.phase)
            peers = seen_by_peers(reference, candidate)
            counts.setdefault(fault.phase, Count()).add((expected, fault.phase), found, peers)
            if everything or found != (expected, fault.phase):
                console.print(f"{name}, step {at}: {fault.name}: expected step {expected}, {fault.phase}; {first}")
    return counts


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
        console.print(table_of("phase", counts))
        false, runs = alarms(Path(name), given.identical)
    console.print(f"{runs} runs that are the same ({len(REFACTORINGS)} of them refactored): {len(false)} false alarms")
    for alarm in false:
        console.print(f"  {alarm}")
    return int(bool(false) or not total_of(counts.values()).good)


if __name__ == "__main__":
    sys.exit(main())
