"""What a run over configurations did, as data."""

from __future__ import annotations

from dataclasses import dataclass, field

from migrate.configs.ceiling import Ceiling
from migrate.configs.figures import count
from migrate.configs.inputs import Mode
from migrate.configs.source import LeftAlone, Source
from migrate.report import Finding


@dataclass(frozen=True, slots=True)
class Size:
    """How much a set of files holds.

    Attributes:
        files: Number of files.
        lines: Lines.
        bytes: Bytes.
        leaves: Scalars, lists and empty mappings, and one for each base that is named and each key that is deleted.
    """

    files: int = 0
    lines: int = 0
    bytes: int = 0
    leaves: int = 0

    def __add__(self, other: Size) -> Size:
        """Add up."""
        return Size(
            self.files + other.files,
            self.lines + other.lines,
            self.bytes + other.bytes,
            self.leaves + other.leaves,
        )


def size_of(source: Source, dropped: bool = False) -> Size:
    """Return what a file holds.

    Args:
        source: The file; one that is not on disk yet counts as UTF-8.
        dropped: Whether the bases it names mean nothing.
    """
    raw = source.text.encode() if source.raw is None else source.raw
    named = 0 if dropped else len(source.bases or ())
    return Size(1, len(raw.splitlines()), len(raw), count(source.coded) + named)


@dataclass(frozen=True, slots=True)
class TemplateInfo:
    """A template.

    Attributes:
        name: Its name in reports.
        bases: Names of its bases.
        files: Names of the files that extend it, directly.
        leaves: What it sets itself.
        state: ``new``, ``changed``, ``kept`` or ``removed``.
    """

    name: str
    bases: tuple[str, ...]
    files: tuple[str, ...]
    leaves: int
    state: str


@dataclass
class Report:
    """What a run did.

    Attributes:
        mode: Whether files were written.
        command: ``configs``, ``refit`` or ``add``.
        experiments: Sizes of the experiments before and after.
        templates: Sizes of the templates before and after.
        depth: Most templates between a root and an experiment.
        ceiling: What any lossless scheme could reach on these files.
        infos: The templates.
        changed: Names of the files that changed, or would, with their new text's unified diff.
        unshared: Names of the files that extend nothing.
        alone: Files that cannot be handled.
        findings: What a person must look at.
        skipped: Left out by a rule: path and reason.
        errors: Files that could not be written or listed: path and reason.
        verified: Number of files that were read back and compared.
        run: Identifier for ``bem-migrate undo``; empty when nothing was written.
        seconds: Wall-clock time.
    """

    mode: Mode
    command: str
    experiments: tuple[Size, Size] = (Size(), Size())
    templates: tuple[Size, Size] = (Size(), Size())
    depth: int = 0
    ceiling: Ceiling = field(default_factory=lambda: Ceiling(0.0, 0.0))
    infos: list[TemplateInfo] = field(default_factory=list)
    changed: dict[str, str] = field(default_factory=dict)
    unshared: list[str] = field(default_factory=list)
    alone: list[LeftAlone] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    errors: list[tuple[str, str]] = field(default_factory=list)
    verified: int = 0
    run: str = ""
    seconds: float = 0.0

    @property
    def experiments_only(self) -> float:
        """Share of the leaves that is gone from the experiments."""
        return gone(self.experiments[0].leaves, self.experiments[1].leaves)

    @property
    def with_templates(self) -> float:
        """Share of the leaves that is gone, what the templates hold counted too."""
        before, after = (one + other for one, other in zip(self.experiments, self.templates, strict=True))
        return gone(before.leaves, after.leaves)

    @property
    def exit_code(self) -> int:
        """0 when nothing is left to do, 1 when changes or findings remain, 2 when a file could not be written."""
        if self.errors:
            return 2
        return int((bool(self.changed) and self.mode != "write") or bool(self.findings))


def gone(before: int, after: int) -> float:
    """Return the share that is gone."""
    return 1 - after / before if before else 0.0
