"""Renders a report of ``bem-migrate imports``: one screen of text, JSON, SARIF or GitHub annotations."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from bem_core import __version__
from migrate.annotations import annotation
from migrate.imports.run import Report
from migrate.report import CODES, Finding

if TYPE_CHECKING:
    from rich.console import Console

_T = TypeVar("_T")
SHOWN = 15
_LABEL = len("references")
REWRITE = "BM100"


def to_json(report: Report) -> str:
    """Return the whole report; ``docs/findings.md`` names the fields."""
    document = {
        "version": 1,
        "tool": __version__,
        "mode": report.mode,
        "mapping": report.mapping,
        "files": {
            "scanned": report.scanned,
            "candidates": report.candidates,
            "changed": [{"path": r.path, "line": r.line, "references": r.references} for r in report.changed],
        },
        "references": dict(report.references),
        "findings": [_finding(finding) for finding in report.findings],
        "errors": [{"path": path, "reason": reason} for path, reason in report.errors],
        "skipped": [{"path": path, "reason": reason} for path, reason in report.skipped],
        "run": report.run,
        "seconds": round(report.seconds, 3),
        "exit_code": report.exit_code,
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


def _finding(finding: Finding) -> dict[str, Any]:
    return {name: getattr(finding, name) for name in Finding.__slots__}


def to_sarif(report: Report) -> str:
    """Return a SARIF 2.1.0 log with every finding, and every file that is still to be rewritten."""
    rules = [{"id": code, "shortDescription": {"text": text}} for code, text in CODES.items()]
    results = [
        _sarif_result(f.code, "warning", f"{f.message}. {f.hint}".strip(), f.path, f.line, f.column)
        for f in report.findings
    ]
    results += [_sarif_result(REWRITE, "error", text, path, line, 1) for path, line, text in _to_rewrite(report)]
    driver = {"name": "bem-migrate", "version": __version__, "rules": rules}
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    document = {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run]}
    return json.dumps(document, indent=2, ensure_ascii=False)


def _sarif_result(code: str, level: str, text: str, path: str, line: int, column: int) -> dict[str, Any]:
    region = {"startLine": line, "startColumn": column}
    place = {"physicalLocation": {"artifactLocation": {"uri": path.replace("\\", "/")}, "region": region}}
    return {"ruleId": code, "level": level, "message": {"text": text}, "locations": [place]}


def _to_rewrite(report: Report) -> Iterator[tuple[str, int, str]]:
    if report.mode == "write":
        return
    for result in report.changed:
        count = sum(result.references.values())
        noun = "reference" if count == 1 else "references"
        yield result.path, result.line, f"{count} {noun} to old names; run bem-migrate imports"


def to_github(report: Report) -> str:
    """Return workflow commands that annotate the files of a pull request."""
    lines = [
        _command("warning", f.path, f.line, f.column, f.code, f"{f.message}. {f.hint}".strip()) for f in report.findings
    ]
    lines += [_command("error", path, line, 1, REWRITE, text) for path, line, text in _to_rewrite(report)]
    lines += [annotation("error", reason, file=path) for path, reason in report.errors]
    return "\n".join(lines)


def _command(level: str, path: str, line: int, column: int, code: str, text: str) -> str:
    return annotation(level, f"{code} {text}", file=path, line=line, col=column, title=code)


def show(report: Report, console: Console, everything: bool = False) -> None:
    """Print what changed and what a person must look at, on one screen unless ``everything`` is asked for."""
    from rich.markup import escape
    from rich.text import Text

    if report.mode == "check":
        rewrites = list(_to_rewrite(report))
        for path, line, text in _cut(rewrites, everything):
            console.print(f"{path}:{line}: {text}", highlight=False, markup=False)
        if len(rewrites) > SHOWN and not everything:
            console.print(f"... and {len(rewrites) - SHOWN} more files: --all shows them", highlight=False)
    findings = report.findings
    for finding in _cut(findings, everything):
        place = Text(f"{finding.path}:{finding.line}:{finding.column}: ", "dim")
        console.print(place + Text(f"{finding.code} ", "yellow") + Text(finding.message))
        if finding.hint:
            console.print(f"    {finding.hint}", highlight=False, markup=False, style="dim")
    hidden = len(findings) - SHOWN
    if hidden > 0 and not everything:
        console.print(f"... and {hidden} more findings: --all shows them, --format json has them", highlight=False)
    console.print(_summary(report))
    if report.run:  # not in the table, which would break a long command over lines
        where = f" --root {shlex.quote(report.root)}" if report.root else ""
        console.print(f"[bold]{'undo':<{_LABEL + 2}}[/]bem-migrate undo {escape(report.run + where)}", soft_wrap=True)


def _cut(items: list[_T], everything: bool) -> list[_T]:
    return items if everything else items[:SHOWN]


def _summary(report: Report) -> Any:
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True, min_width=_LABEL)
    table.add_column(overflow="fold")
    verb = "changed" if report.mode == "write" else "to change"
    table.add_row("moves", report.mapping)
    table.add_row("files", f"{report.scanned} scanned, {report.candidates} read closely, {len(report.changed)} {verb}")
    if report.references:
        table.add_row("references", ", ".join(f"{n} {kind}" for kind, n in report.references.most_common()))
    codes = Counter(finding.code for finding in report.findings)
    for number, (code, count) in enumerate(sorted(codes.items())):
        table.add_row("" if number else "findings", f"{count} {code} {CODES[code]}")
    if not codes:
        table.add_row("findings", "none")
    if report.skipped:
        table.add_row("skipped", f"{len(report.skipped)}, such as {report.skipped[0][0]}: {report.skipped[0][1]}")
    if report.errors:
        table.add_row("errors", f"files that could not be handled: {len(report.errors)}")
    table.add_row("time", f"{report.seconds:.2f} s")
    return table
