"""Faults that a migration of the project's trainings can have, each with the phase in which it first shows."""

from tests.parity.faults import (
    around,
    clipping,
    in_multimodal,
    in_perftrack,
    in_router,
    in_safety,
    passes,
    saved,
    setting_up,
    updating,
)
from tests.parity.faults.catalogue import FAULTS, Fault, Run

__all__ = [
    "FAULTS",
    "Fault",
    "Run",
    "around",
    "clipping",
    "in_multimodal",
    "in_perftrack",
    "in_router",
    "in_safety",
    "passes",
    "saved",
    "setting_up",
    "updating",
]
