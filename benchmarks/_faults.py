"""The table of what was found of faults, by phase, for `verify_faults` and `verify_faults_project`."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.verify.peers import PEERS

# Of all faults that changed something, the share that must be in the right phase.
SHARE = 0.95


@dataclass
class Count:
    """Injections of faults of one kind.

    Attributes:
        injected: All.
        equivalent: Those that changed nothing, such as a limit that was not reached; the others are the whole of what
            the next ones are parts of.
        found: Those that were found, at whatever step.
        at_first_step: Those found at the first step at which a channel can differ.
        in_phase: Those in the right phase of it.
        alarms: Equivalent ones that were found all the same.
        peers: Those that lesser criteria would have found.
    """

    injected: int = 0
    equivalent: int = 0
    found: int = 0
    at_first_step: int = 0
    in_phase: int = 0
    alarms: int = 0
    peers: Counter[str] = field(default_factory=Counter)

    def add(self, expected: tuple[int | None, str], found: tuple[int, str] | None, peers: Iterable[str]) -> None:
        """Count one.

        Args:
            expected: The first step at which it can show, None for one that changed nothing; and the phase.
            found: Step and phase of the first difference.
            peers: Lesser criteria that tell the runs apart.
        """
        self.injected += 1
        if expected[0] is None:
            self.equivalent += 1
            self.alarms += found is not None
            return
        self.found += found is not None
        self.at_first_step += found is not None and found[0] == expected[0]
        self.in_phase += found is not None and found[1] == expected[1]
        self.peers.update(peers)

    @property
    def good(self) -> bool:
        """Whether all that changed something was found at its first step, and enough of it in its phase."""
        real = self.injected - self.equivalent
        return not self.alarms and self.at_first_step == real and self.in_phase >= SHARE * real


def total_of(counts: Iterable[Count]) -> Count:
    """Return the sum."""
    total = Count()
    for count in counts:
        for name in ("injected", "equivalent", "found", "at_first_step", "in_phase", "alarms"):
            setattr(total, name, getattr(total, name) + getattr(count, name))
        total.peers += count.peers
    return total


def table_of(title: str, counts: Mapping[str, Count], order: Sequence[str] = ()) -> Table:
    """Return a table with a row for each count, and their sum.

    Args:
        title: Of the first column.
        counts: By what is in it.
        order: Which come first.
    """
    table = Table(title, box=None, pad_edge=False)
    for name in ("injected", "equivalent", "found", "at the first step", "in its phase", *PEERS):
        table.add_column(name, justify="right")
    names = [*(name for name in order if name in counts), *(name for name in counts if name not in order)]
    for name, count in [*((name, counts[name]) for name in names), ("all", total_of(counts.values()))]:
        cells = (count.injected, count.equivalent, count.found, count.at_first_step, count.in_phase)
        table.add_row(name, *map(str, cells), *(str(count.peers[peer]) for peer in PEERS))
    return table
