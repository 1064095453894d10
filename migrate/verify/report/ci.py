"""Verdicts for CI: JUnit XML, and annotations of GitHub Actions."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence

from migrate.annotations import annotation
from migrate.verify.report.text import label, summary
from migrate.verify.verdict import Outcome, Verdict

_SUITE = "bem-migrate verify"
# What XML 1.0 cannot hold, such as colours that a program printed.
_FORBIDDEN = dict.fromkeys((*range(9), 11, 12, *range(14, 32), 0xFFFE, 0xFFFF), "\N{REPLACEMENT CHARACTER}")


def to_junit(verdicts: Sequence[Verdict]) -> str:
    """Return a test suite with a case a verdict; what is inconclusive is an error, what else is not good a failure."""
    failed = [one for one in verdicts if not one.outcome.good]
    errors = [one for one in failed if one.outcome is Outcome.INCONCLUSIVE]
    counts = {"tests": len(verdicts), "failures": len(failed) - len(errors), "errors": len(errors)}
    suite = ElementTree.Element("testsuite", {"name": _SUITE, **{name: str(count) for name, count in counts.items()}})
    for verdict in verdicts:
        seconds = sum(side.get("seconds", 0.0) for side in verdict.sides.values())
        case = ElementTree.SubElement(
            suite, "testcase", classname=verdict.case, name=_clean(label(verdict)), time=f"{seconds:.3f}"
        )
        if not verdict.outcome.good:
            kind = "error" if verdict.outcome is Outcome.INCONCLUSIVE else "failure"
            message = verdict.reasons[0] if verdict.reasons else ""
            told = ElementTree.SubElement(case, kind, type=verdict.outcome.value, message=_clean(message))
            told.text = _clean("\n".join(verdict.reasons))
        ElementTree.SubElement(case, "system-out").text = _clean(summary(verdict))
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _clean(text: str) -> str:
    return text.translate(_FORBIDDEN)


def to_github(verdicts: Sequence[Verdict], file: str = "") -> str:
    """Return an annotation for each verdict: an error where the check fails, else a notice.

    Args:
        verdicts: What is told.
        file: The file of the case, if there is one.
    """
    lines = []
    for verdict in verdicts:
        level = "notice" if verdict.outcome.good else "error"
        text = "\n".join([f"{label(verdict)}: {verdict.outcome.value}: {summary(verdict)}", *verdict.reasons])
        lines.append(annotation(level, text, file=file, title=f"verify {label(verdict)}"))
    return "\n".join(lines)
