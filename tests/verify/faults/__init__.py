"""Faults that a migration of a training loop can have, each with the phase in which it first shows."""

from tests.verify.faults import around, passes, setting_up, updating
from tests.verify.faults.catalogue import FAULTS, Fault

__all__ = ["FAULTS", "Fault", "around", "passes", "setting_up", "updating"]
