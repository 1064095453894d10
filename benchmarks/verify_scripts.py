"""Which faults of plain training scripts ``bem-migrate verify compare`` finds, and where.

    python benchmarks/verify_scripts.py [--seed 0] [--script NAME] [--all]

Every fault of ``tests/verify/scripts`` begins at a random step of its script. At the first step means one at which the
fault can show; where that depends on the numbers, the catalogue has a range. Then each script once more and the
refactorings that change nothing: each verdict but ``identical`` is a false alarm. Exit code 1 where a fault is missed
or at another step, fewer than 95 % are in the right phase, or there is a false alarm.
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
from tests.verify.peers import seen_by_peers
from tests.verify.scripts.catalogue import FAULTS, REFACTORINGS
from tests.verify.scripts.running import record


def inject(clean: dict[str, Trace], path: Path, seed: int, console: Console, everything: bool) -> dict[str, Count]:
    """Inject every fault of some scripts; return counts by script."""
    counts: dict[str, Count] = {}
    for fault in FAULTS:
        if fault.script not in clean:
            continue
        at = random.Random(f"{seed} {fault.script} {fault.name}").randint(*fault.begins)
        candidate = record(fault.script, path, "--fault", fault.name, "--at", str(at))
        first = compare(clean[fault.script], candidate, plain_case()).first
        right = (False, False) if first is None else fault.expects(at, first.step, first.phase)
        found = None if first is None else (first.step, first.phase)
        # Where several steps or phases are right, the one that was found counts as the one that was expected.
        expected = (found[0] if found and right[0] else -1, found[1] if found and right[1] else fault.phases[0])
        counts.setdefault(fault.script, Count()).add(expected, found, seen_by_peers(clean[fault.script], candidate))
        if everything or right != (True, True):
            words = f"{fault.first(at)}, {' or '.join(fault.phases)}"
            console.print(f"{fault.script}, {at}: {fault.name}: expected {words}; {first}", soft_wrap=True)
    return counts


def alarms(clean: dict[str, Trace], path: Path) -> tuple[list[str], int]:
    """Return the false alarms among identical runs and refactorings, and how many runs there were."""
    ways = {(script, ""): dict[str, str]() for script in clean} | REFACTORINGS
    ways = {key: names for key, names in ways.items() if key[0] in clean}
    found = []
    for (script, name), names in ways.items():
        verdict = compare(clean[script], record(script, path, "--same", name), plain_case(names=names))
        if verdict.outcome is not Outcome.IDENTICAL:
            found.append(f"{script}: {name or 'the same'}: {verdict.reasons[0]}")
    return found, len(ways)


def main() -> int:
    """Inject, compare and print; see the top of the file for the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=0, help="of the steps at which faults begin; default %(default)s")
    scripts = sorted({fault.script for fault in FAULTS})
    parser.add_argument("--script", choices=scripts, action="append", help="only this one")
    parser.add_argument("--all", action="store_true", help="print what was found of each fault")
    given = parser.parse_args()
    console = Console(width=160)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clean = {script: record(script, folder / f"{script}.trace") for script in given.script or scripts}
        counts = inject(clean, folder / "candidate.trace", given.seed, console, given.all)
        console.print(f"{sum(count.injected for count in counts.values())} faults, seed {given.seed}")
        console.print(table_of("script", counts))
        false, runs = alarms(clean, folder / "candidate.trace")
    console.print(f"{runs} runs that are the same ({runs - len(clean)} of them refactored): {len(false)} false alarms")
    for alarm in false:
        console.print(f"  {alarm}")
    return int(bool(false) or not total_of(counts.values()).good)


if __name__ == "__main__":
    sys.exit(main())
