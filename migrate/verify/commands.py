"""The commands ``verify compare``, ``run`` and ``bisect``: parse the command line, call, render, exit."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bem_core.errors import BemError

if TYPE_CHECKING:
    from rich.console import Console

    from migrate.verify.verdict import Verdict

_FILE = click.Path(dir_okay=False, path_type=Path)
_PRESENT = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


def _reports(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of every command that gives verdicts."""
    options = [
        click.option(
            "--format",
            "form",
            type=click.Choice(["text", "json", "junit", "github"]),
            default="text",
            show_default=True,
            help="What is printed.",
        ),
        click.option("--html", type=_FILE, metavar="FILE", help="Write one page with plots, too."),
        click.option("--json", "json_file", type=_FILE, metavar="FILE", help="Write the report as JSON, too."),
        click.option("--junit", type=_FILE, metavar="FILE", help="Write it as JUnit XML, too."),
        click.option("--all", "everything", is_flag=True, help="Print everything, not just the first lines."),
        click.option("-q", "--quiet", is_flag=True, help="Print errors only."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@click.argument("reference", type=_PRESENT)
@click.argument("candidate", type=_PRESENT)
@click.option("--case", "case_file", type=_PRESENT, help="What the case says of names, features and waivers.")
@click.option(
    "--map", "maps", multiple=True, metavar="PATTERN=NAME", help="Names of the reference and what the candidate says."
)
@click.option("--min-steps", type=click.IntRange(min=1), help="Fewest steps that say anything.  [default: 1]")
@_reports
def compare(
    reference: Path, candidate: Path, case_file: Path | None, maps: Sequence[str], min_steps: int | None, **report: Any
) -> None:
    """Compare the traces REFERENCE and CANDIDATE, and say whether both trainings did the same.

    `bem-migrate verify trace` records them; level full tells which tensor differs, level deep which module that comes
    from. Exit codes: see `verify --help`.
    """
    from migrate.verify.case_files import load_case
    from migrate.verify.cases import plain_case
    from migrate.verify.compare import compare as compare_traces
    from migrate.verify.localise import located
    from migrate.verify.trace.reader import read_trace

    case = load_case(case_file) if case_file else plain_case(f"{reference.name} and {candidate.name}")
    if min_steps:
        case = dataclasses.replace(case, steps=min_steps)
    if maps:
        case = dataclasses.replace(case, names={**case.names, **pairs(maps)})
    found = []
    for one, other in _processes(reference, candidate):
        traces = read_trace(one), read_trace(other)
        found.append(located(compare_traces(*traces, case), *traces, case.names))
    _finish(found, report, case_file)


def _processes(reference: Path, candidate: Path) -> list[tuple[Path, Path]]:
    """Return the traces of all processes of two runs, in pairs."""
    from migrate.verify.trace.launch import written

    one, other = (
        {file.name.removeprefix(path.name): file for file in written(path)} for path in (reference, candidate)
    )
    if one.keys() != other.keys():
        raise BemError(f"{reference} is of {len(one)} processes, {candidate} of {len(other)}; they cannot be compared")
    return [(one[name], other[name]) for name in one]


def pairs(texts: Sequence[str]) -> dict[str, str]:
    """Return ``PATTERN=NAME`` texts as a mapping; the pattern ends at the last ``=``.

    Raises:
        click.UsageError: There is no ``=``, or the pattern cannot be read.
    """
    found = {}
    for text in texts:
        pattern, sign, name = text.rpartition("=")
        try:
            re.sub(pattern, name, "")
        except (re.error, IndexError) as error:
            raise click.UsageError(f"--map {text!r}: not a pattern of regular expressions: {error}") from error
        if not sign or not pattern:
            raise click.UsageError(f"--map {text!r}: expected PATTERN=NAME")
        found[pattern] = name
    return found


@click.command()
@click.argument("cases", nargs=-1, required=True, type=_PRESENT, metavar="CASE...")
@click.option("--seed", "seeds", type=click.IntRange(min=0), multiple=True, help="Only this one; may be repeated.")
@click.option(
    "--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Cases that run at the same time."
)
@click.option("--keep", type=click.Path(file_okay=False, path_type=Path), help="Keep traces and states in this folder.")
@_reports
def run(cases: Sequence[Path], seeds: Sequence[int], jobs: int, keep: Path | None, **report: Any) -> None:
    """Run the reference and the candidate of each CASE in fresh processes, and compare them.

    Where the candidate differs, the reference runs again, so that its own noise is known, and then both, so that the
    first module that differs is found. docs/verify.md has the keys of a case.
    """
    from migrate.verify.case_files import load_case

    loaded = [load_case(path) for path in cases]
    names = [case.name for case in loaded]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise BemError(f"two cases are called {twice!r}; give one another name")
    if seeds:
        loaded = [dataclasses.replace(case, seeds=list(seeds)) for case in loaded]
    with _folder(keep) as folder:
        found = _run_all(loaded, folder, jobs, report)
    _finish(found, report, cases[0] if len(cases) == 1 else None, shown=report["form"] == "text")


@click.command()
@click.argument("case_file", type=_PRESENT, metavar="CASE")
@click.option("--seed", type=click.IntRange(min=0), help="Which seed.  [default: the first of the case]")
@click.option("--reference-out", type=_FOLDER, help="What a run of the reference has left; else it is run, untraced.")
@click.option("--candidate-out", type=_FOLDER, help="What a run of the candidate has left; else it is run, untraced.")
@click.option(
    "--map", "maps", multiple=True, metavar="PATTERN=KEY", help="Keys of the reference's checkpoints -> keys."
)
@click.option("--only", metavar="PATTERN", help="Compare only these keys, as the candidate has them.")
@click.option("--keep", type=click.Path(file_okay=False, path_type=Path), help="Keep runs and traces in this folder.")
@_reports
def bisect(
    case_file: Path,
    seed: int | None,
    reference_out: Path | None,
    candidate_out: Path | None,
    maps: Sequence[str],
    only: str | None,
    keep: Path | None,
    **report: Any,
) -> None:
    """Find the first step at which two long runs differ, from the checkpoints that they left.

    The CASE says where checkpoints are and how a side goes on from one (checkpoints, resume). Checkpoints of the same
    step are compared to find the last pair that holds the same; both sides are resumed from it and traced up to the
    next pair, and the first step that differs is replayed with every module recorded. --map and --only add to what the
    case says of keys.

    Exit codes: 0 the last pair holds the same; others as of `verify --help`.
    """
    from migrate.verify.bisect import bisect_case
    from migrate.verify.case_files import load_case

    case = load_case(case_file)
    rules = case.checkpoints
    names = {**pairs(maps), **rules.names}
    rules = dataclasses.replace(rules, names=names, only=_pattern(only) or rules.only)
    case = dataclasses.replace(case, checkpoints=rules)
    with _folder(keep) as folder:
        outs = reference_out, candidate_out
        found = [bisect_case(case, case.seeds[0] if seed is None else seed, folder / case.name, outs)]
    _finish(found, report, case_file)


def _pattern(text: str | None) -> str | None:
    try:
        re.compile(text or "")
    except re.error as error:
        raise click.UsageError(f"--only {text!r}: not a pattern of regular expressions: {error}") from error
    return text


@contextlib.contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    """Yield the folder that was asked for, or one that is gone afterwards."""
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep.resolve()
    else:
        with tempfile.TemporaryDirectory(prefix="bem-migrate-verify-") as folder:
            yield Path(folder)


def _run_all(cases: Sequence[Any], folder: Path, jobs: int, report: dict[str, Any]) -> list[Verdict]:
    """Run all cases, and show each verdict when it is there."""
    from migrate.verify.parallel import run_cases
    from migrate.verify.report.text import show
    from migrate.verify.run import describe_folder

    found = []
    for verdict in run_cases(cases, folder, jobs):
        found.append(verdict)
        if report["form"] == "text" and not report["quiet"]:
            show([verdict], console(), report["everything"])
    describe_folder(folder, found)
    return found


def _finish(verdicts: list[Verdict], report: dict[str, Any], case_file: Path | None, shown: bool = False) -> None:
    """Write the reports that were asked for, and leave with the exit code of the worst verdict."""
    from migrate.verify.report import ci, document, page, text
    from migrate.verify.verdict import worst

    for file, make in (
        (report["html"], page.to_html),
        (report["json_file"], document.to_json),
        (report["junit"], ci.to_junit),
    ):
        if file is not None:
            file.write_text(make(verdicts), encoding="utf-8")
    form = report["form"]
    if form == "text":
        if not shown and not report["quiet"]:
            text.show(verdicts, console(), report["everything"])
    elif form == "json":
        click.echo(document.to_json(verdicts))
    elif form == "junit":
        click.echo(ci.to_junit(verdicts), nl=False)
    else:
        click.echo(ci.to_github(verdicts, str(case_file or "")))
    raise click.exceptions.Exit(worst(one.outcome for one in verdicts).exit_code)


def console() -> Console:
    """Return where results are printed."""
    from rich.console import Console

    made = Console(highlight=False, soft_wrap=True, emoji=False)
    if not made.is_terminal:
        made.width = 1000  # a pipe has none
    return made
