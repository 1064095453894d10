"""Which fault or refactoring a script runs with: ``--fault NAME --at STEP``, or ``--same NAME``."""

from __future__ import annotations

import argparse
from dataclasses import dataclass


@dataclass(frozen=True)
class Switch:
    """What the command line says.

    Attributes:
        fault: Name of the fault; nothing for none.
        start: Step, or epoch, or update, from which it is there.
        refactoring: Name of what is done in another way to the same effect.
    """

    fault: str
    start: int
    refactoring: str

    def on(self, name: str, now: int) -> bool:
        """Tell whether a fault is there by now."""
        return self.fault == name and now >= self.start

    def at(self, name: str, now: int) -> bool:
        """Tell whether a fault begins now."""
        return self.fault == name and now == self.start

    def always(self, name: str) -> bool:
        """Tell whether there is a fault that has no beginning."""
        return self.fault == name

    def same(self, name: str) -> bool:
        """Tell whether something is done in another way."""
        return self.refactoring == name


def read_switch() -> Switch:
    """Read the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--fault", default="")
    parser.add_argument("--at", type=int, default=1)
    parser.add_argument("--same", default="")
    given = parser.parse_args()
    return Switch(given.fault, given.at, given.same)
