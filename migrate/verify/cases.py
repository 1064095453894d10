"""Cases: what is compared with what, how strictly, and why. Loads without torch."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from bem_core.config.schema import Count, Fraction, NonNegative, Positive, PositiveFloat, Range
from migrate.verify.waivers import Waiver

Level = Literal["light", "full", "deep"]
Determinism = Literal["error", "warn", "none"]
Feature = Literal[
    "accumulation",
    "best",
    "buffers",
    "checkpoint",
    "clip",
    "dropout",
    "evaluation",
    "groups",
    "partial_window",
    "resume",
    "scaler",
    "schedule",
]
PLACEHOLDERS = ("case", "checkpoint", "config", "earlier", "out", "python", "seed", "shared")
PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two programs.

    Attributes:
        command: Its words; ``{python}``, ``{seed}``, ``{config}``, ``{out}`` (a fresh folder), ``{shared}`` (what
            `Case.prepare` made), ``{earlier}`` (what the reference of `Case.goes_on_from` wrote) and ``{case}`` (where
            the case is) are filled in.
        folder: Where it runs, relative to the case.
        code: Folders, relative to the case, that the code of the run must come from; nothing is asked without them.
        environment: Variables on top of the pinned ones; filled in like the command.
        metrics: Functions whose results are metrics, as ``module:qualified.name``.
        saves: Functions that save checkpoints besides those that are known, as ``module:qualified.name``, with
            ``:argument`` where what they save is not the first one.
        expect: Hooks that must fire, such as ``clip`` or ``scheduler``.
        checkpoints: Pattern for the paths of checkpoints, files or folders, that it writes below ``{out}``; a group
            in it is the number of optimizer steps that were done.
        checkpoint_steps: Steps that one of that number stands for, such as those of an epoch.
        resume: Words added to the command so that it goes on from one; ``{checkpoint}`` is its path.
    """

    command: list[str]
    folder: str = "."
    code: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    metrics: list[str] = field(default_factory=list)
    saves: list[str] = field(default_factory=list)
    expect: list[str] = field(default_factory=list)
    checkpoints: str | None = None
    checkpoint_steps: Positive = 1
    resume: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """A program that makes what both sides read: data, or a checkpoint that both go on from. It is not recorded.

    Attributes:
        command: As that of a side; ``{shared}`` is the folder to write to.
        folder: Where it runs, relative to the case.
        environment: Variables on top of the pinned ones; filled in like the command.
    """

    command: list[str]
    folder: str = "."
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """What a run reads and writes.

    Attributes:
        out: The folder that it writes.
        shared: The folder that the preparation writes.
        earlier: The folder that the reference wrote whose run goes on.
        checkpoint: What a side goes on from; the words of `Side.resume` are for it.
    """

    out: Path
    shared: Path
    earlier: Path | None = None
    checkpoint: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """What may differ in lockstep: an update of a tensor, relative to the reference's.

    A tensor passes where the error of its update is at most the largest of ``noise_factor`` times what two runs of the
    reference differ by, and ``epsilons`` times the rounding of its type, carried over to the update.

    Attributes:
        reason: Why bit for bit cannot be asked.
        noise_factor: Times the measured noise.
        epsilons: Times the machine epsilon of the type.
        scalars: Relative bound of losses, gradient norms and metrics.
    """

    reason: str
    noise_factor: Annotated[float, Range(low=1)] = 10.0
    epsilons: NonNegative = 4.0
    scalars: NonNegative = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoints:
    """How checkpoints are compared; without it, every entry under its own key.

    Attributes:
        names: Patterns for whole dotted keys of the reference, and what stands for them in the candidate, as in
            `re.sub`; the first that fits counts.
        only: Pattern for whole keys, as the candidate has them; others are left out.
        moments: With ``shared``, compare the last one after each step after which both saved, and no others; else all,
            in order.
        ignore: Compare neither contents nor how many there are.
        reason: Why not everything is compared.
    """

    names: dict[str, str] = field(default_factory=dict)
    only: str = ".*"
    moments: Literal["all", "shared"] = "all"
    ignore: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Equivalent:
    """A statistical comparison over seeds, where the runs cannot be compared step by step.

    Attributes:
        reason: Why not.
        margins: For each metric the largest difference that does not matter, in its own unit.
        alpha: Level of the tests, over all metrics.
    """

    reason: str
    margins: dict[str, PositiveFloat]
    alpha: Annotated[float, Range(above=0, below=1)] = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Which metrics of the two sides are the same.

    Attributes:
        names: Patterns for names of the reference's metrics, and what the candidate calls them, as `Case.names`.
        only_reference: Patterns for whole names of metrics that the candidate does not have, and why.
        only_candidate: The same for those that the reference does not have.
    """

    names: dict[str, str] = field(default_factory=dict)
    only_reference: dict[str, str] = field(default_factory=dict)
    only_candidate: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One comparison.

    Attributes:
        name: By default that of the file.
        reference: The program that is right.
        candidate: The program that must do the same.
        prepare: What is run before both, in order, once for each seed.
        goes_on_from: The file of another case, relative to this one; both sides go on from a checkpoint that its
            reference wrote. What it prepared is this case's, too.
        config: A configuration for ``{config}``, relative to the case.
        seeds: Each gives a pair of runs.
        steps: Fewest optimizer steps that say anything.
        changed_share: Share of the trainable tensors that must have changed.
        level: How much is recorded.
        determinism: Whether torch is asked for deterministic kernels in both sides: where there is none the program
            fails, or it warns.
        timeout_s: For each run.
        threads: Number of threads that both get.
        names: Patterns for names of the reference, and what stands for them in the candidate, as in `re.sub` on the
            whole name; the first that fits counts.
        only_reference: Patterns for whole names of buffers and frozen parameters that the candidate rightly lacks, and
            why; what an optimizer has is always compared.
        only_candidate: The same for those that the reference lacks.
        metrics: Which metrics are the same; those that functions of `Side.metrics` return, or the program reports.
        checkpoints: How what both save is compared.
        features: What must have happened in the runs.
        tolerance: Without it the runs must be the same bit for bit.
        equivalence: Compare metrics over seeds instead of steps.
        waivers: Exceptions.
        folder: Of the file; relative paths start here.
        earlier: What `goes_on_from` names.
    """

    name: str = ""
    reference: Side
    candidate: Side
    prepare: list[Preparation] = field(default_factory=list)
    goes_on_from: str | None = None
    config: str | None = None
    seeds: list[Count] = field(default_factory=lambda: [0])
    steps: Positive = 1
    changed_share: Fraction = 0.9
    level: Level = "full"
    determinism: Determinism = "warn"
    timeout_s: PositiveFloat = 600.0
    threads: Positive = 1
    names: dict[str, str] = field(default_factory=dict)
    only_reference: dict[str, str] = field(default_factory=dict)
    only_candidate: dict[str, str] = field(default_factory=dict)
    metrics: Metrics = field(default_factory=Metrics)
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    features: list[Feature] = field(default_factory=list)
    tolerance: Tolerance | None = None
    equivalence: Equivalent | None = None
    waivers: list[Waiver] = field(default_factory=list)
    folder: Path = Path()
    earlier: Case | None = None

    def against_itself(self) -> Case:
        """Return the case for two runs of the reference: maps are for the candidate; what is waived is no noise."""
        lone = self.metrics.only_reference
        return dataclasses.replace(
            self,
            candidate=self.reference,
            names={},
            only_candidate=self.only_reference,
            metrics=Metrics(only_reference=lone, only_candidate=lone),
        )

    def filled(
        self, part: Side | Preparation, seed: int, places: Places, python: str
    ) -> tuple[list[str], dict[str, str]]:
        """Return the command and the variables of a side or of the preparation with their placeholders filled in.

        With a checkpoint, the words with which a side goes on from it are added.
        """
        values = {
            "case": str(self.folder.resolve()),
            "checkpoint": str(places.checkpoint),
            "config": str((self.folder / (self.config or "")).resolve()),
            "earlier": str(places.earlier),
            "out": str(places.out),
            "python": python,
            "seed": str(seed),
            "shared": str(places.shared),
        }

        def fill(text: str) -> str:
            return PLACEHOLDER.sub(lambda found: values[found[1]], text)

        more = part.resume if places.checkpoint is not None and isinstance(part, Side) else []
        return [fill(word) for word in (*part.command, *more)], {
            name: fill(text) for name, text in part.environment.items()
        }


def plain_case(name: str = "compare", **options: object) -> Case:
    """Return a case for two traces that are there already."""
    nothing = Side(command=[])
    return Case(name=name, reference=nothing, candidate=nothing, **options)  # type: ignore[arg-type]
