"""``bem-migrate undo``: bring back what a run changed."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from migrate.journal import FOLDER, Journal, Outcome, RunInfo, UndoReport

_SHOWN = 15  # file names in one list: the rest is a count, so that all stays on one screen


@click.command()
@click.argument("run", required=False)
@click.option("--list", "list_runs", is_flag=True, help="Show the runs, newest first, and undo nothing.")
@click.option(
    "--keep-changed", is_flag=True, help="Leave files that changed since the run as they are; restore the others."
)
@click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help=f"Folder with {FOLDER}.  [default: the nearest one from here upwards, or the only one just below]",
)
@click.option("--quiet", "-q", is_flag=True, help="Print problems only.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_context
def undo(
    ctx: click.Context, run: str | None, list_runs: bool, keep_changed: bool, root: Path | None, quiet: bool, form: str
) -> None:
    """Restore every byte and mode of the files that RUN changed, or the newest run that is not undone.

    Where a file has changed since that run, nothing is touched and the files are listed. RUN may be the start or end of
    an id from --list.
    """
    journal = Journal(root or _nearest_root(Path.cwd()))
    if list_runs:
        _show_runs(journal.runs(), form)
        return
    report = journal.undo(run, keep_changed)
    if form == "json":
        click.echo(json.dumps(_as_json(report), indent=2))
    elif not quiet:
        _show_result(report)
    if report.state in ("refused", "incomplete"):
        if form == "text":
            _show_problems(report, _later_runs(journal, report))
        ctx.exit(2)


def _nearest_root(start: Path) -> Path:
    """Return the nearest folder upwards that has a journal, or the only one just below ``start``.

    A run on a folder that belongs to no project keeps its journal in that folder. Without any journal ``start`` is
    returned, for the error to name.
    """
    above = (folder for folder in (start, *start.parents) if (folder / FOLDER).is_dir())
    below = [path.parent for path in start.glob(f"*/{FOLDER}") if path.is_dir()]
    return next(above, below[0] if len(below) == 1 else start)


def _show_result(report: UndoReport) -> None:
    run = report.run
    if run is None:
        click.echo("Nothing to undo: every run is undone already, or none has changed a file.")
        return
    if report.state == "already":
        click.echo(f"Run {run.id} was undone already, at {_time(run.undone)}.")
    if report.restored:
        click.echo(f"Undid run {run.id} of {_time(run.started)}: {' '.join(run.command)}")
        click.echo(f"{_count(len(report.restored), 'file')} restored:")
        _show_list(report.restored)
    if report.kept and report.state == "undone":
        click.echo(f"{_count(len(report.kept), 'file')} left as changed since:")
        _show_list(_lines(report.kept))


def _show_problems(report: UndoReport, later: Sequence[str]) -> None:
    refused = report.state == "refused"
    problems = report.kept if refused else report.failed
    count = _count(len(problems), "file")
    run_id = report.run.id if report.run else ""
    head = f"not undone, nothing was touched: {count} of run {run_id}" if refused else f"{count} could not be restored"
    click.echo(f"error: {head}:", err=True)
    _show_list(_lines(problems), err=True)
    if later:
        click.echo(f"Undo what came later first: {', '.join(later)}.", err=True)
    elif refused:
        click.echo("With --keep-changed these stay as they are and the others are restored.", err=True)
    else:
        click.echo("The originals are still in the journal: remove the cause and undo again.", err=True)


def _later_runs(journal: Journal, report: UndoReport) -> list[str]:
    """Return the ids of later runs, not undone, that changed the files in the way."""
    run, paths = report.run, {outcome.path for outcome in report.kept}
    return [
        info.id for info in journal.runs() if run and info.id > run.id and not info.undone and paths & {*info.files}
    ]


def _show_runs(runs: Sequence[RunInfo], form: str) -> None:
    if form == "json":
        click.echo(json.dumps([asdict(info) for info in runs], indent=2))
        return
    if not runs:
        click.echo("No run has changed a file here.")
        return
    from rich.console import Console  # not needed to undo, so not loaded for it
    from rich.table import Column, Table

    run = Column("run", no_wrap=True, min_width=max(len(info.id) for info in runs))
    table = Table(run, "started", "command", "files", "state", box=None, pad_edge=False)
    for info in runs:
        table.add_row(info.id, _time(info.started), " ".join(info.command), str(len(info.files)), _state(info))
    console = Console()
    if not console.is_terminal:
        console.width = 1000  # a pipe has none
    console.print(table)


def _state(info: RunInfo) -> str:
    return f"undone, {_count(len(info.kept), 'file')} kept" if info.kept else info.state


def _as_json(report: UndoReport) -> dict[str, Any]:
    run = report.run
    return {
        "state": report.state,
        "run": run and {"id": run.id, "command": run.command, "started": run.started},
        "restored": report.restored,
        "kept": [outcome._asdict() for outcome in report.kept],
        "failed": [outcome._asdict() for outcome in report.failed],
    }


def _show_list(lines: Sequence[str], *, err: bool = False) -> None:
    for line in lines[:_SHOWN]:
        click.echo(f"  {line}", err=err)
    if len(lines) > _SHOWN:
        click.echo(f"  and {len(lines) - _SHOWN} more (all of them with --format json)", err=err)


def _lines(outcomes: Sequence[Outcome]) -> list[str]:
    return [f"{outcome.path}: {outcome.error}" for outcome in outcomes]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
