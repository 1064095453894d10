"""Renders a report of ``bem-migrate configs``: one screen of text, or JSON."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from bem_core import __version__
from migrate.configs.report import Report, Size, gone
from migrate.report import CODES, Finding

if TYPE_CHECKING:
    from rich.console import Console

SHOWN = 10


def to_json(report: Report) -> str:
    """Return the whole report; ``docs/configs.md`` names the fields."""
    document = {
        "version": 1,
        "tool": __version__,
        "mode": report.mode,
        "command": report.command,
        "files": {
            "experiments": report.experiments[1].files,
            "templates": report.templates[1].files,
            "changed": list(report.changed),
            "unshared": report.unshared,
            "left_alone": [{"path": file.path, "reason": file.reason} for file in report.alone],
        },
        "sizes": {
            "experiments_only": _sizes(report.experiments[0], report.experiments[1]),
            "with_templates": _sizes(*_both(report)),
        },
        "reduction": {
            "experiments_only": round(report.experiments_only, 4),
            "with_templates": round(report.with_templates, 4),
            "ceiling_experiments_only": round(report.ceiling.experiments_only, 4),
            "ceiling_with_templates": round(report.ceiling.with_templates, 4),
        },
        "depth": report.depth,
        "templates": [
            {
                "path": info.name,
                "bases": list(info.bases),
                "files": list(info.files),
                "leaves": info.leaves,
                "state": info.state,
            }
            for info in report.infos
        ],
        "verified": report.verified,
        "findings": [{name: getattr(found, name) for name in Finding.__slots__} for found in report.findings],
        "errors": [{"path": path, "reason": reason} for path, reason in report.errors],
        "skipped": [{"path": path, "reason": reason} for path, reason in report.skipped],
        "run": report.run,
        "seconds": round(report.seconds, 3),
        "exit_code": report.exit_code,
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


def _sizes(before: Size, after: Size) -> dict[str, Any]:
    return {
        name: {"before": getattr(before, name), "after": getattr(after, name)}
        for name in ("files", "lines", "bytes", "leaves")
    }


def _both(report: Report) -> tuple[Size, Size]:
    return report.experiments[0] + report.templates[0], report.experiments[1] + report.templates[1]


def show(report: Report, console: Console, everything: bool = False) -> None:
    """Print the figures, the templates, and what a person must look at."""
    if report.mode == "check":
        _list(console, [f"{name}: to change" for name in report.changed], everything)
    _list(console, [f"{file.path}: left alone: {file.reason}" for file in report.alone], everything)
    _findings(report, console, everything)
    if report.infos:
        console.print(_templates(report, everything))
        if len(report.infos) > SHOWN and not everything:
            console.print(f"... and {len(report.infos) - SHOWN} more templates: --all shows them")
    console.print(_figures(report))
    console.print(_summary(report))


def _list(console: Console, lines: list[str], everything: bool) -> None:
    shown = lines if everything else lines[:SHOWN]
    for line in shown:
        console.print(line, markup=False)
    if len(lines) > len(shown):
        console.print(f"... and {len(lines) - len(shown)} more: --all shows them, --format json has them")


def _findings(report: Report, console: Console, everything: bool) -> None:
    shown = report.findings if everything else report.findings[:SHOWN]
    for found in shown:
        console.print(f"{found.path}:{found.line}:{found.column}: ", end="", markup=False, style="dim")
        console.print(f"{found.code} ", end="", style="yellow")
        console.print(found.message, markup=False)
    if len(report.findings) > len(shown):
        rest = len(report.findings) - len(shown)
        console.print(f"... and {rest} more findings: --all shows them, --format json has them")


def _templates(report: Report, everything: bool) -> Any:
    from rich.table import Table

    table = Table("template", "extends", box=None, pad_edge=False, header_style="bold")
    for name in ("files", "leaves"):
        table.add_column(name, justify="right")
    table.add_column("")
    for info in report.infos if everything else report.infos[:SHOWN]:
        bases = ", ".join(base.rpartition("/")[2] for base in info.bases)
        table.add_row(info.name, bases, str(len(info.files)), str(info.leaves), info.state)
    return table


def _figures(report: Report) -> Any:
    from rich.table import Table

    table = Table("", box=None, pad_edge=False, header_style="bold")
    for name in ("files", "lines", "bytes", "leaves", "fewer", "ceiling"):
        table.add_column(name, justify="right", no_wrap=True)
    rows = (
        ("experiments only", *report.experiments, report.ceiling.experiments_only),
        ("with templates", *_both(report), report.ceiling.with_templates),
    )
    for title, before, after, ceiling in rows:
        cells = [_change(getattr(before, name), getattr(after, name)) for name in ("files", "lines", "bytes", "leaves")]
        table.add_row(title, *cells, f"{gone(before.leaves, after.leaves):.1%}", f"{ceiling:.1%}")
    return table


def counted(number: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{number} {noun}{'s' * (number != 1)}"


def _change(before: int, after: int) -> str:
    return str(after) if before == after else f"{before} -> {after}"


def _summary(report: Report) -> Any:
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    verb = "changed" if report.mode == "write" else "to change"
    states = Counter(info.state for info in report.infos)
    counts = ", ".join(f"{number} {state}" for state, number in sorted(states.items()))
    table.add_row("templates", f"{report.templates[1].files} of depth {report.depth}" + f": {counts}" * bool(counts))
    table.add_row("files", f"{len(report.changed)} {verb}, {len(report.unshared)} without a template")
    state = "as it was" if report.verified == 1 else "all as they were"
    if report.alone:
        table.add_row("left alone", counted(len(report.alone), "file"))
    table.add_row("verified", f"{counted(report.verified, 'file')} read back under YAML 1.1 and 1.2, {state}")
    codes = Counter(found.code for found in report.findings)
    for number, (code, count) in enumerate(sorted(codes.items())):
        table.add_row("" if number else "findings", f"{count} {code} {CODES[code]}")
    if report.skipped:
        table.add_row("skipped", f"{len(report.skipped)}, such as {report.skipped[0][0]}: {report.skipped[0][1]}")
    table.add_row("time", f"{report.seconds:.2f} s")
    if report.run:
        table.add_row("undo", f"bem-migrate undo {report.run}")
    return table
