"""``bem-migrate verify trace``: record what a command trains."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from bem_core.errors import BemError
from migrate.verify.trace.launch import Ended, launch
from migrate.verify.trace.reader import Trace, TraceError, read_trace
from migrate.verify.trace.recording.settings import DETERMINISM, LEVELS, Settings

INCONCLUSIVE = 3


class Window(click.ParamType[tuple[int, int]]):
    """Steps as ``A:B``: from A to before B, counted from 0; either may be left out."""

    name = "A:B"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Return both numbers."""
        first, colon, end = str(value).partition(":")
        try:
            window = int(first or 0), int(end or 2**62)
        except ValueError:
            window = 0, 0
        if not colon or not 0 <= window[0] < window[1]:
            self.fail(f"{value!r}: expected A:B, such as 100:120, with 0 <= A < B", param, ctx)
        return window


def _saving(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        parts = value.split(":")
        if len(parts) not in (2, 3) or not all(parts):
            raise click.BadParameter(f"{value!r}: expected module:function or module:function:argument", ctx, param)
    return values


def _function(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        module, colon, name = value.partition(":")
        if not (module and colon and name):
            raise click.BadParameter(f"{value!r}: expected module:function or module:Class.method", ctx, param)
    return values


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog="Such as: bem-migrate verify trace --out run.trace -- python train.py --config tiny.yaml",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="File of the trace; replaced.")
@click.option("--level", type=click.Choice(LEVELS), default="light", show_default=True, help="How much is digested.")
@click.option(
    "--determinism",
    type=click.Choice(DETERMINISM),
    default="none",
    show_default=True,
    help="Ask torch for deterministic kernels.",
)
@click.option("--steps", type=Window(), help="Record these steps only.")
@click.option("--stop-after", type=click.IntRange(min=1), help="End the command after so many steps.")
@click.option("--states-every", type=click.IntRange(min=1), help="Save the full state after each so many steps.")
@click.option("--states", type=click.Path(path_type=Path), help="Folder for states.  [default: OUT.states]")
@click.option(
    "--inject",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Put the states of this folder into the run after each step (lockstep).",
)
@click.option(
    "--inject-names",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSON: names in those states -> names here.",
)
@click.option("--expect", multiple=True, metavar="HOOK", help="A hook that must fire, such as clip or scheduler.")
@click.option(
    "--metrics-of", multiple=True, callback=_function, metavar="MODULE:FUNCTION", help="Record what it returns."
)
@click.option(
    "--checkpoints-of",
    multiple=True,
    callback=_saving,
    metavar="MODULE:FUNCTION[:ARGUMENT]",
    help="Record what it is given to save.",
)
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(min=0, min_open=True), help="Stop it after so many seconds."
)
@click.option("--quiet", "-q", is_flag=True, help="Print nothing about a trace that is complete.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_context
def trace(
    ctx: click.Context,
    out: Path,
    level: str,
    determinism: str,
    steps: tuple[int, int] | None,
    stop_after: int | None,
    states_every: int | None,
    states: Path | None,
    inject: Path | None,
    inject_names: Path | None,
    expect: tuple[str, ...],
    metrics_of: tuple[str, ...],
    checkpoints_of: tuple[str, ...],
    timeout_s: float | None,
    quiet: bool,
    command: tuple[str, ...],
) -> None:
    """Run COMMAND (a script, python -m, an installed program) and record what it trains.

    The program is not edited and computes what it does without. Other ranks write OUT.rank1 and so on. A summary goes
    to stderr. Exit codes: 0 the trace is complete; 3 it is not, because the command failed or was stopped; 2 an error.
    """
    settings = Settings(
        out=str(out.absolute()),
        level=level,
        determinism=determinism,
        window=steps,
        stop_after=stop_after or 0,
        states_every=states_every or 0,
        states=str((states or Path(f"{out}.states")).absolute()),
        inject=str(inject.absolute()) if inject else None,
        names=_names(inject_names),
        expect=list(expect),
        metrics=list(metrics_of),
        saves=list(checkpoints_of),
    )
    ended = launch(command, settings, timeout_s)
    traces = _read(ended)
    complete = bool(traces) and all(one.complete for one in traces)
    if not (quiet and complete):
        _show(ended, traces)
    if not complete:
        ctx.exit(INCONCLUSIVE)


def _names(path: Path | None) -> dict[str, str]:
    if path is None:
        return {}
    try:
        names = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BemError(f"{path}: not JSON: {error}") from error
    if not isinstance(names, dict) or not all(isinstance(value, str) for value in names.values()):
        raise BemError(f"{path}: expected an object whose values are names")
    return names


def _read(ended: Ended) -> list[Trace]:
    found = []
    for file in ended.files:
        try:
            found.append(read_trace(file))
        except TraceError as error:
            click.echo(f"bem-migrate: {error}", err=True)
    return found


def _show(ended: Ended, traces: list[Trace]) -> None:
    for one in traces:
        counts = f"{len(one.steps)} steps, {len(one.evaluations)} evaluations, {len(one.checkpoints)} checkpoints"
        footer = one.footer or {}
        stopped = f", stopped after step {footer['stopped_after']}" if footer.get("stopped_after") else ""
        click.echo(f"{one.path}: {one.problem or 'complete'}{stopped}; {counts}", err=True)
        if one.footer is None:
            click.echo(f"  {ended.how}", err=True)
        if footer.get("never_fired"):
            click.echo(f"  never seen: {', '.join(footer['never_fired'])}", err=True)
        for name, why in footer.get("not_found", {}).items():
            click.echo(f"  not recorded: {name}: {why}", err=True)
        for note in footer.get("notes", []):
            click.echo(f"  note: {note}", err=True)
    if not traces:
        why = f"exit code {ended.code}" if ended.code >= 0 and not ended.timed_out else ended.how
        click.echo(
            f"no trace: no Python process of the command imported torch and trained (command: {why}); "
            "`python -S`, `-E` and `-I` keep the tracer out",
            err=True,
        )
