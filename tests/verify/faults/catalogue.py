"""How faults are written down: a class that replaces a part of a training, the phase, and the step that is first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.verify.toys import TRAININGS, Toy

Make = Callable[[type[Toy]], type[Toy]]
ALL = ("classifier", "regressor", "constrained")


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        name: What is wrong.
        phase: Where it first shows.
        trainings: Those that it can be in.
        first: Returns the number of the optimizer call at which it first shows, from the training without it and the
            step at which it begins.
        make: Puts it into a training.
        begins: Range of steps that it may begin at.
    """

    name: str
    phase: str
    trainings: tuple[str, ...]
    first: Callable[[Toy, int], int]
    make: Make
    begins: tuple[int, int]


FAULTS: list[Fault] = []


def same_step(clean: Toy, at: int) -> int:
    return clean.first_call[at]


def dual_step(clean: Toy, at: int) -> int:
    return clean.last_call[at]


def next_step(clean: Toy, at: int) -> int:
    return clean.first_call[at + 1]


def end_of_step(clean: Toy, at: int) -> int:
    return clean.last_call[at]


def evaluation(clean: Toy, at: int) -> int:
    """The first evaluation from a step on."""
    return clean.last_call[-(-at // clean.eval_every) * clean.eval_every]


def after_evaluation(clean: Toy, at: int) -> int:
    return clean.first_call[-(-at // clean.eval_every) * clean.eval_every + 1]


def checkpoint(clean: Toy, at: int) -> int:
    """The first checkpoint at a fixed interval from a step on."""
    return clean.last_call[-(-at // clean.save_every) * clean.save_every]


def any_checkpoint(clean: Toy, at: int) -> int:
    return clean.last_call[min(step for step in clean.saved_at if step >= at)]


def start(clean: Toy, at: int) -> int:
    return 0


def first_step(clean: Toy, at: int) -> int:
    return 1


def fault(
    phase: str,
    name: str,
    trainings: tuple[str, ...] = ALL,
    first: Callable[[Toy, int], int] = same_step,
    begins: tuple[int, int] = (2, 11),
) -> Callable[[Make], Make]:
    """Put a fault into the catalogue."""

    def add(make: Make) -> Make:
        assert set(trainings) <= set(TRAININGS)
        FAULTS.append(Fault(name, phase, trainings, first, make, begins))
        return make

    return add
