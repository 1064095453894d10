"""The commands ``verify configs`` and ``verify checkpoints``: parse the command line, call, render, exit."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import click

_PATH = click.Path(path_type=Path)
_SHOWN = 20


def _print(lines: Sequence[str], everything: bool) -> None:
    for line in lines if everything else lines[:_SHOWN]:
        click.echo(line)
    if len(lines) > _SHOWN and not everything:
        click.echo(f"... and {len(lines) - _SHOWN} more: --all shows them")


@click.command()
@click.argument("old", type=_PATH)
@click.argument("new", type=_PATH)
@click.option("--typed", is_flag=True, help="Compare experiments, so that old spellings of keys are those of the new.")
@click.option(
    "--on-dangling",
    type=click.Choice(["error", "drop"]),
    default="error",
    show_default=True,
    help="What to do where a file names a base that is not there.",
)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--all", "everything", is_flag=True, help="Print everything, not just the first lines.")
def configs(old: Path, new: Path, typed: bool, on_dangling: str, form: str, everything: bool) -> None:
    """Compare what the configuration files OLD and NEW resolve to, or all of two folders by their relative paths.

    Types count, so 1 and 1.0 differ; the order of keys does not. Files that only NEW has, such as templates, are no
    difference. Exit codes: 0 the same; 1 different, or a file of OLD has no counterpart; 3 a file cannot be resolved.
    """
    from migrate.verify.configs import compare_configs

    report = compare_configs(old, new, typed=typed, on_dangling=on_dangling)  # type: ignore[arg-type]
    broken = any(pair.problem for pair in report.pairs)
    code = 0 if report.same else 3 if broken else 1
    if form == "json":
        document = {"version": 1, "same": report.same, "exit_code": code, **dataclasses.asdict(report)}
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
        raise click.exceptions.Exit(code)
    lines = [f"{name}: only in {old}" for name in report.only_old]
    for pair in report.pairs:
        lines += [f"{pair.name}: cannot be resolved: {pair.problem}"] if pair.problem else []
        lines += [f"{pair.name}: {change}" for change in pair.changes]
    _print(lines, everything)
    same = sum(pair.same for pair in report.pairs)
    more = f"; only in {new}: {len(report.only_new)}" if report.only_new else ""
    click.echo(f"{len(report.pairs)} compared, {same} the same{more}")
    raise click.exceptions.Exit(code)


@click.command()
@click.argument("first", type=_PATH)
@click.argument("second", type=_PATH)
@click.option("--map", "maps", multiple=True, metavar="PATTERN=KEY", help="Keys of FIRST and what SECOND calls them.")
@click.option("--only", default=".*", metavar="PATTERN", help="Compare only these keys, as SECOND has them.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--all", "everything", is_flag=True, help="Print everything, not just the first lines.")
def checkpoints(first: Path, second: Path, maps: Sequence[str], only: str, form: str, everything: bool) -> None:
    """Compare what the checkpoints FIRST and SECOND hold, whatever their bytes are.

    Each is a file of torch.save, which is read without running anything in it, a safetensors file, or a folder that
    bem_core saved. Patterns are regular expressions for whole dotted keys. Exit codes: 0 the same; 1 different.
    """
    from migrate.verify.checkpoints import compare_checkpoints
    from migrate.verify.commands import pairs
    from migrate.verify.report.document import plain

    report = compare_checkpoints(first, second, pairs(maps), only)
    if form == "json":
        document = {"version": 1, "same": report.same, "exit_code": int(not report.same), **plain(report)}
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
        raise click.exceptions.Exit(int(not report.same))
    lines = [str(change) for change in report.structure]
    lines += [f"{one.key}: {one.distance}" for one in report.tensors]
    _print(lines, everything)
    click.echo(
        f"{report.num_tensors} tensors in both, {len(report.tensors)} of them differ; "
        f"{len(report.structure)} other differences"
    )
    for path, digest in zip((first, second), report.digests, strict=True):
        click.echo(f"{digest}  {path}")
    raise click.exceptions.Exit(int(not report.same))
