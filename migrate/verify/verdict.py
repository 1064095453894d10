"""What a comparison says: one outcome, what it rests on, and the exit code. Plain data; loads without torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Outcome(StrEnum):
    """What two runs are to each other.

    ``IDENTICAL`` is bit for bit; ``WITHIN_TOLERANCE`` needs a case that allows it and says why. ``INCONCLUSIVE`` says
    that nothing can be said, ``VACUOUS`` that what is the same is too little to mean anything, ``STALE_WAIVER`` that an
    exception of the case is no longer one.
    """

    IDENTICAL = "identical"
    WITHIN_TOLERANCE = "within_tolerance"
    DIFFERENT = "different"
    INCONCLUSIVE = "inconclusive"
    VACUOUS = "vacuous"
    STALE_WAIVER = "stale_waiver"

    @property
    def exit_code(self) -> int:
        """Return what a command ends with; 2 is for errors."""
        return _EXIT_CODES[self]

    @property
    def good(self) -> bool:
        """Tell whether a check passes."""
        return self.exit_code == 0


_EXIT_CODES = {
    Outcome.IDENTICAL: 0,
    Outcome.WITHIN_TOLERANCE: 0,
    Outcome.DIFFERENT: 1,
    Outcome.INCONCLUSIVE: 3,
    Outcome.VACUOUS: 4,
    Outcome.STALE_WAIVER: 5,
}
# Of several cases the first of these that occurs decides; a difference that was seen is the most certain.
_GRAVITY = (
    Outcome.DIFFERENT,
    Outcome.INCONCLUSIVE,
    Outcome.VACUOUS,
    Outcome.STALE_WAIVER,
    Outcome.WITHIN_TOLERANCE,
    Outcome.IDENTICAL,
)


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """Return the outcome that decides about several cases; none of them is `Outcome.VACUOUS`."""
    found = set(outcomes)
    return next((one for one in _GRAVITY if one in found), Outcome.VACUOUS)


@dataclass(frozen=True, slots=True)
class Divergence:
    """One place where the two runs differ.

    Attributes:
        step: Number of the optimizer step, from 1; 0 is before the first one.
        phase: Of the step, such as ``backward``.
        channel: What was compared, such as ``gradients``.
        key: Name within the channel, such as that of a tensor, as the reference calls it.
        reference: What the reference has, as text.
        candidate: What the candidate has.
        error: How far apart numbers or tensors are, relative; None where only equality is known.
        waiver: Identifier of the waiver that covers it.
        tolerated: Whether a tolerance of the case covers it.
    """

    step: int
    phase: str
    channel: str
    key: str
    reference: str
    candidate: str
    error: float | None = None
    waiver: str | None = None
    tolerated: bool = False

    @property
    def open(self) -> bool:
        """Tell whether nothing excuses it."""
        return self.waiver is None and not self.tolerated

    def __str__(self) -> str:
        """Return one line."""
        name = f"{self.channel} {self.key}".strip()
        apart = "" if self.error is None else f" (relative error {self.error:.3g})"
        return f"step {self.step}, {self.phase}: {name}: {self.reference} and {self.candidate}{apart}"


@dataclass(frozen=True, slots=True)
class ChannelCount:
    """How often a channel was compared and how often it differed."""

    channel: str
    phase: str
    compared: int
    different: int
    first_step: int | None = None


@dataclass(frozen=True, slots=True)
class Guard:
    """One condition without which agreement would mean nothing.

    Attributes:
        name: Such as ``steps`` or ``feature clip``.
        holds: Whether it is met.
        detail: What was found and what was expected.
    """

    name: str
    holds: bool
    detail: str


@dataclass(frozen=True, slots=True)
class WaiverUse:
    """What became of a waiver: how many differences it covered, and why it is stale, if it is."""

    id: str
    reason: str
    used: int
    stale: str | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """A quantity over steps, for plots: how far the runs are apart.

    Attributes:
        name: Such as ``loss`` or a group of tensors.
        steps: Numbers of steps.
        errors: Relative differences, same length; 0 where equal.
        noise: Relative differences between two runs of the reference, same length, or empty.
    """

    name: str
    steps: tuple[int, ...]
    errors: tuple[float, ...]
    noise: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Apart:
    """How far a tensor is from its counterpart on the other side.

    Attributes:
        what: Such as ``output``.
        form: Type and shape; both where they differ.
        num_elements: How many it has.
        num_different: Those whose bits differ.
        relative: ``||a - b|| / ||a||`` (Frobenius).
        max_ulp: Most representable numbers between two elements; None for types that are not floating point.
        first_index: Of the first element that differs.
        reference: That element of the reference.
        candidate: That of the candidate.
        note: What numbers cannot say.
    """

    what: str
    form: str
    num_elements: int
    num_different: int
    relative: float
    max_ulp: float | None = None
    first_index: tuple[int, ...] | None = None
    reference: str = ""
    candidate: str = ""
    note: str = ""

    def __str__(self) -> str:
        """Return it in words."""
        parts = [f"{self.what} {self.form}"]
        if self.num_different:
            parts.append(f"{self.num_different} of {self.num_elements} elements differ")
        parts.append(self.note or f"relative error {self.relative:.3g}")
        parts += [f"at most {self.max_ulp:.3g} ULP"] if self.max_ulp is not None else []
        if self.first_index is not None:
            parts.append(f"the first at {list(self.first_index)}: {self.reference} and {self.candidate}")
        return f"{parts[0]}: {', '.join(parts[1:])}"


@dataclass(frozen=True, slots=True)
class Localised:
    """What replaying the first step that differs has found.

    Attributes:
        module: The first module whose inputs agree and whose output differs; None where there is none.
        detail: What was found, in a sentence.
        error: Relative Frobenius error of its output, or of the gradient of that, if values were kept.
        cause: The likely class of cause.
        stack: Of the first random draw that is extra or missing, innermost call last.
        apart: More on the same tensor.
    """

    detail: str
    module: str | None = None
    error: float | None = None
    cause: str = ""
    stack: tuple[str, ...] = ()
    apart: Apart | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The outcome of a comparison and all that it rests on.

    Attributes:
        case: Name of the case.
        seed: Of this pair of runs, if the case has seeds.
        outcome: The one word.
        reasons: Why it is not better, most important first; one line each.
        steps: How many steps both have.
        divergences: Where the runs differ: the first step that does in full, later ones one per channel.
        channels: Counts, in causal order.
        guards: What makes agreement mean something.
        waivers: What became of each.
        noise: Whether the reference agreed with itself; None where it ran once.
        mode: ``free`` where both ran on their own, ``lockstep`` where the candidate got the state before each step.
        drift: For the plot.
        localised: What a replay of the first step that differs has found, or traces of level ``deep`` tell.
        metrics: Rows of the statistical comparison, if the case asks for it.
        notes: What a reader should know though it decides nothing.
        sides: Of each side: command, exit code, seconds.
        process: What is added to the name of the trace that this verdict is of; nothing for rank 0.
    """

    case: str
    outcome: Outcome
    reasons: tuple[str, ...] = ()
    seed: int | None = None
    steps: int = 0
    divergences: tuple[Divergence, ...] = ()
    channels: tuple[ChannelCount, ...] = ()
    guards: tuple[Guard, ...] = ()
    waivers: tuple[WaiverUse, ...] = ()
    noise: str | None = None
    mode: str = "free"
    drift: tuple[Series, ...] = ()
    localised: Localised | None = None
    metrics: tuple[dict[str, Any], ...] = ()
    notes: tuple[str, ...] = ()
    sides: dict[str, Any] = field(default_factory=dict)
    process: str = ""

    @property
    def first(self) -> Divergence | None:
        """Return the first difference that nothing excuses."""
        return next((one for one in self.divergences if one.open), None)


def decide(
    *,
    obstacles: Sequence[str],
    divergences: Sequence[Divergence],
    guards: Sequence[Guard],
    waivers: Sequence[WaiverUse],
    tolerance: str = "",
) -> tuple[Outcome, tuple[str, ...]]:
    """Return the outcome and its reasons.

    Args:
        obstacles: Why nothing can be concluded: a side that failed, a trace cut off, environments that differ.
        divergences: All that was found.
        guards: All that were asked.
        waivers: All of the case.
        tolerance: Why some differences are tolerated.
    """
    first = next((one for one in divergences if one.open), None)
    differs = [] if first is None else [f"first difference: {first}"]
    empty = [f"{guard.name}: {guard.detail}" for guard in guards if not guard.holds]
    stale = [f"waiver {one.id}: {one.stale}" for one in waivers if one.stale]
    reasons = (*obstacles, *differs, *empty, *stale)
    if obstacles:
        return Outcome.INCONCLUSIVE, reasons
    if differs:
        return Outcome.DIFFERENT, reasons
    if empty:
        return Outcome.VACUOUS, reasons
    if stale:
        return Outcome.STALE_WAIVER, reasons
    excused = [f"{one.used} differences are waived by {one.id}: {one.reason}" for one in waivers if one.used]
    if excused or any(one.tolerated for one in divergences):
        return Outcome.WITHIN_TOLERANCE, (*([f"tolerated: {tolerance}"] if tolerance else []), *excused)
    return Outcome.IDENTICAL, ()
