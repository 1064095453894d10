"""Replacements of character spans in a text, and nothing else of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from migrate.report import Finding


@dataclass(frozen=True, slots=True, order=True)
class Edit:
    """One replacement.

    Attributes:
        start: Offset of the first replaced character in the decoded text, without a byte order mark.
        end: Offset after the last one; equal to ``start`` for an insertion.
        new: What takes its place.
        kind: The form of the reference, as the summary counts it: ``import``, ``attribute``, ``string``, ...
    """

    start: int
    end: int
    new: str
    kind: str


@dataclass(slots=True)
class Rewrite:
    """What one rewriter found in one text.

    Attributes:
        edits: Replacements, not overlapping, in any order.
        findings: What a person must look at.
    """

    edits: list[Edit] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def apply(text: str, edits: Iterable[Edit]) -> str:
    """Return ``text`` with every edit done.

    Raises:
        ValueError: Two edits overlap.
    """
    parts: list[str] = []
    done = 0
    for edit in sorted(edits):
        if edit.start < done:
            raise ValueError(f"edits overlap at offset {edit.start}: {edit.new!r}")
        parts += (text[done : edit.start], edit.new)
        done = edit.end
    parts.append(text[done:])
    return "".join(parts)
