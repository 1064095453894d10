"""Cases: what is compared with what, how strictly, and why. YAML files; loads without torch."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, get_args

from bem_core.config import yaml_reader
from bem_core.config.merge import dotted
from bem_core.config.schema import Count, Fraction, NonNegative, Positive, PositiveFloat, Problem, Range, Report, build
from bem_core.errors import BemError, nearest
from migrate.verify.phases import CHANNELS
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
FEATURES: tuple[str, ...] = get_args(Feature)
PLACEHOLDERS = ("case", "checkpoint", "config", "out", "python", "seed", "shared")
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")


class CaseError(BemError):
    """A case cannot be read or makes no sense."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two programs.

    Attributes:
        command: Its words; ``{python}``, ``{seed}``, ``{config}``, ``{out}`` (a fresh folder), ``{shared}`` (what
            `Case.prepare` made) and ``{case}`` (where the case is) are filled in.
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
    """

    name: str = ""
    reference: Side
    candidate: Side
    prepare: list[Preparation] = field(default_factory=list)
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

    def against_itself(self) -> Case:
        """Return the case for two runs of the reference: waivers and maps are for the candidate."""
        lone = self.metrics.only_reference
        return dataclasses.replace(
            self,
            candidate=self.reference,
            waivers=[],
            names={},
            only_candidate=self.only_reference,
            metrics=Metrics(only_reference=lone, only_candidate=lone),
        )

    def filled(
        self,
        part: Side | Preparation,
        seed: int,
        out: Path,
        shared: Path,
        python: str,
        checkpoint: Path | None = None,
    ) -> tuple[list[str], dict[str, str]]:
        """Return the command and the variables of a side or of the preparation with their placeholders filled in.

        With a checkpoint, the words with which a side goes on from it are added.
        """
        values = {
            "case": str(self.folder.resolve()),
            "checkpoint": str(checkpoint),
            "config": str((self.folder / (self.config or "")).resolve()),
            "out": str(out),
            "python": python,
            "seed": str(seed),
            "shared": str(shared),
        }

        def fill(text: str) -> str:
            return _PLACEHOLDER.sub(lambda found: values[found[1]], text)

        more = part.resume if checkpoint is not None and isinstance(part, Side) else []
        return [fill(word) for word in (*part.command, *more)], {
            name: fill(text) for name, text in part.environment.items()
        }


def plain_case(name: str = "compare", **options: object) -> Case:
    """Return a case for two traces that are there already."""
    nothing = Side(command=[])
    return Case(name=name, reference=nothing, candidate=nothing, **options)  # type: ignore[arg-type]


def load_case(path: Path | str) -> Case:
    """Read a case.

    Raises:
        CaseError: Keys or values are wrong; it has all of them with their places.
        ConfigError: The file cannot be read or is not plain YAML.
    """
    document = yaml_reader.read(Path(path))
    report = Report()
    case = build(Case, {"name": Path(path).stem, **document.data}, (), report, without=("folder",))
    if not report.problems:
        case = dataclasses.replace(case, folder=Path(path).parent)
        report.problems += _problems(case)
    if report.problems:
        lines = [f"{document.locate(p.path, p.key)}: {dotted(p.path) or path}: {p.message}" for p in report.problems]
        raise CaseError("\n".join([*([f"{len(lines)} problems in {path}"] if len(lines) > 1 else []), *lines]))
    return case


def _problems(case: Case) -> Iterator[Problem]:
    yield from _side_problems(case, case.reference, ("reference",))
    yield from _side_problems(case, case.candidate, ("candidate",))
    for number, part in enumerate(case.prepare):
        yield from _side_problems(case, part, ("prepare", number))
    if not re.fullmatch(r"[\w.-]+", case.name):
        yield Problem(("name",), f"{case.name!r} names a folder of results: expected letters, digits, '.', '_' and '-'")
    if not case.seeds:
        yield Problem(("seeds",), "expected at least one seed")
    if len(set(case.seeds)) != len(case.seeds):
        yield Problem(("seeds",), "a seed is there twice")
    yield from _reason_problems(case)
    yield from _waiver_problems(case)
    if case.config is not None and not (case.folder / case.config).exists():
        yield Problem(("config",), f"there is no file {case.folder / case.config}")
    for where, names in ((("names",), case.names), (("metrics", "names"), case.metrics.names)):
        for pattern, replacement in names.items():
            yield from _pattern_problems((*where, pattern), pattern, replacement)
    yield from _lone_problems(case)
    yield from _checkpoint_problems(case.checkpoints)
    if case.equivalence and len(case.seeds) < 3:
        yield Problem(("seeds",), f"{len(case.seeds)} given; a statistical comparison needs at least 3")


def _lone_problems(case: Case) -> Iterator[Problem]:
    for key in ("only_reference", "only_candidate"):
        yield from _reasoned_problems((key,), getattr(case, key))
        yield from _reasoned_problems(("metrics", key), getattr(case.metrics, key))
        if getattr(case, key) and case.level == "light":
            yield Problem(("level",), f"'light' tells no buffer from another, which {key} needs; expected 'full'")


def _reasoned_problems(where: tuple[str, ...], patterns: Mapping[str, str]) -> Iterator[Problem]:
    for pattern, reason in patterns.items():
        yield from _pattern_problems((*where, pattern), pattern)
        if not reason.strip():
            yield Problem((*where, pattern), "empty; say why only one side has it")


def _checkpoint_problems(rules: Checkpoints) -> Iterator[Problem]:
    for pattern, replacement in rules.names.items():
        yield from _pattern_problems(("checkpoints", "names", pattern), pattern, replacement)
    yield from _pattern_problems(("checkpoints", "only"), rules.only)
    if rules != Checkpoints(names=rules.names) and not rules.reason.strip():
        yield Problem(("checkpoints", "reason"), "empty; say why not everything is compared")
    if rules.ignore and rules != Checkpoints(ignore=True, reason=rules.reason):
        yield Problem(("checkpoints", "ignore"), "checkpoints are ignored or compared by names, not both")


def _side_problems(case: Case, part: Side | Preparation, where: tuple[str | int, ...]) -> Iterator[Problem]:
    if not part.command:
        yield Problem((*where, "command"), "expected at least one word")
    for number, word in enumerate(part.command):
        yield from _placeholder_problems(case, (*where, "command", number), word)
    for variable, text in part.environment.items():
        yield from _placeholder_problems(case, (*where, "environment", variable), text)
    if isinstance(part, Side):
        yield from _resume_problems(case, part, where)
    code = part.code if isinstance(part, Side) else []
    for key, folder in (("folder", part.folder), *(("code", one) for one in code)):
        if not (case.folder / folder).is_dir():
            yield Problem((*where, key), f"there is no folder {case.folder / folder}")


def _resume_problems(case: Case, side: Side, where: tuple[str | int, ...]) -> Iterator[Problem]:
    for number, word in enumerate(side.resume):
        yield from _placeholder_problems(case, (*where, "resume", number), word)
    if side.resume and not any("{checkpoint}" in word for word in side.resume):
        yield Problem((*where, "resume"), "no word has {checkpoint}, the path of what it goes on from")
    if side.resume and side.checkpoints is None:
        yield Problem((*where, "checkpoints"), "missing: 'resume' needs a pattern for the checkpoints below {out}")
    if side.checkpoints is not None:
        problems = [*_pattern_problems((*where, "checkpoints"), side.checkpoints)]
        yield from problems
        if not problems and re.compile(side.checkpoints).groups > 1:
            yield Problem(
                (*where, "checkpoints"), "expected one group, the number of steps; (?:...) groups without a number"
            )


def _placeholder_problems(case: Case, where: tuple[str | int, ...], text: str) -> Iterator[Problem]:
    for found in _PLACEHOLDER.findall(text):
        if found not in PLACEHOLDERS:
            hint = nearest(found, PLACEHOLDERS) or f"; there are {', '.join(PLACEHOLDERS)}"
            yield Problem(where, f"unknown placeholder {{{found}}}{hint}")
        if found == "config" and case.config is None:
            yield Problem(where, "{config} is used, and the case has no key 'config'")
        if found == "shared" and not case.prepare:
            yield Problem(where, "{shared} is used, and the case has no key 'prepare'")
        if found == "checkpoint" and "resume" not in where:
            yield Problem(where, "{checkpoint} is for the words of 'resume'")
        if found == "out" and where[0] == "prepare":
            yield Problem(where, "{out} is of a side; the preparation writes to {shared}")


def _reason_problems(case: Case) -> Iterator[Problem]:
    for name in ("tolerance", "equivalence"):
        part = getattr(case, name)
        if part is not None and not part.reason.strip():
            yield Problem((name, "reason"), "empty; say why bit for bit cannot be asked")
    if case.tolerance and case.equivalence:
        yield Problem(("equivalence",), "a case has a tolerance or a statistical comparison, not both")
    if case.equivalence and not case.equivalence.margins:
        yield Problem(("equivalence", "margins"), "expected at least one metric")


def _waiver_problems(case: Case) -> Iterator[Problem]:
    seen: set[str] = set()
    for number, waiver in enumerate(case.waivers):
        where = ("waivers", number)
        if not waiver.reason.strip():
            yield Problem((*where, "reason"), "empty; say why the difference is right")
        if waiver.channel not in CHANNELS:
            hint = nearest(waiver.channel, CHANNELS) or f"; there are {', '.join(CHANNELS)}"
            yield Problem((*where, "channel"), f"unknown channel {waiver.channel!r}{hint}")
        if waiver.id in seen:
            yield Problem((*where, "id"), f"{waiver.id!r} is there twice")
        seen.add(waiver.id)
        yield from _pattern_problems((*where, "keys"), waiver.keys)


def _pattern_problems(where: tuple[str | int, ...], pattern: str, replacement: str = "") -> Iterator[Problem]:
    try:
        re.sub(pattern, replacement, "")  # it reads the replacement even where nothing matches
    except (re.error, IndexError) as error:
        yield Problem(where, f"not a pattern of regular expressions: {error}")
