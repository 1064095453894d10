"""Comments that silence findings: ``bem-migrate: ignore`` or ``bem-migrate: ignore[BM102, BM105]`` on the line."""

from __future__ import annotations

import re
from collections.abc import Iterable

from migrate.report import Finding

MARK = "bem-migrate: ignore"
_IGNORE = re.compile(r"bem-migrate: ignore(?:\[(?P<codes>[\w\s,]*)\])?")
_LINE_END = re.compile(r"\r\n?|\n")


def wanted(findings: Iterable[Finding], text: str, ignored: frozenset[str]) -> list[Finding]:
    """Return the findings that neither a comment on their line nor the list of ignored codes silences."""
    kept = [finding for finding in findings if finding.code not in ignored]
    if MARK not in text or not kept:
        return kept
    lines = _LINE_END.split(text)
    return [finding for finding in kept if not _silenced(finding, lines)]


def _silenced(finding: Finding, lines: list[str]) -> bool:
    line = lines[finding.line - 1] if finding.line <= len(lines) else ""
    found = _IGNORE.search(line)
    if found is None:
        return False
    return found["codes"] is None or finding.code in re.split(r"[\s,]+", found["codes"].strip())
