"""The command ``configs`` and its subcommands: parse the command line, call, render, exit."""

from __future__ import annotations

import os
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bem_core.errors import BemError, ConfigError
from migrate import settings, sources
from migrate.imports.kinds import KINDS

if TYPE_CHECKING:
    from rich.console import Console

    from migrate.configs.inputs import Options
    from migrate.configs.report import Report

_RUN = ""  # no word that a folder could be called
_SHOWN = 30
_PROJECT_MARKS = (".bem-migrate", ".git", "pyproject.toml")


class _Configs(click.Group):
    """A group that does its work on paths when no subcommand is named: ``configs experiments/``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the name of the run in front of paths and their options."""
        ahead = [arg for arg in args if arg == "--debug"]
        rest = [arg for arg in args if arg != "--debug"]
        if rest and rest[0] not in self.commands and rest[0] not in ctx.help_option_names:
            meant = get_close_matches(rest[0], self.commands, 1)
            if meant and not os.path.exists(rest[0]):
                raise click.UsageError(f"No such path or command {rest[0]!r}. Did you mean {meant[0]!r}?", ctx)
            rest.insert(0, _RUN)
        return super().parse_args(ctx, [*ahead, *rest])

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Return what stands behind the name in the usage line."""
        return ["[OPTIONS] PATH... | COMMAND [ARGS]..."]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options of the run, then the subcommands."""
        self.commands[_RUN].format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


class _Context(click.Context):
    """The context of a command without a name."""

    @property
    def command_path(self) -> str:
        """Return how the command is called."""
        return super().command_path.rstrip()


class _Run(click.Command):
    context_class = _Context


def _shared(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of every command that looks at many files."""
    options = [
        click.option("--templates", metavar="DIR", help="Folder of the templates.  [default: PATH/templates]"),
        click.option("--include", multiple=True, metavar="GLOB", help="Look only at these files; may be repeated."),
        click.option("--exclude", multiple=True, metavar="GLOB", help="Leave these files alone; may be repeated."),
        click.option("-q", "--quiet", is_flag=True, help="Print errors only."),
        click.option("--all", "everything", is_flag=True, help="Print everything, not just the first lines."),
        click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _writing(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of every command that rewrites files."""
    options = [
        click.option("--diff", "mode", flag_value="diff", help="Show the changes and write nothing."),
        click.option("--check", "mode", flag_value="check", help="Write nothing; exit 1 when something is left to do."),
        click.option(
            "--order",
            type=click.Choice(["ignore", "strict"]),
            default="ignore",
            show_default=True,
            help="Whether keys must come out in the same order, too.",
        ),
        click.option(
            "--pin",
            "pins",
            multiple=True,
            metavar="TEMPLATE",
            type=click.Path(exists=True, dir_okay=False),
            help="Hand-written template to use and never to change; may be repeated.",
        ),
        click.option(
            "--on-dangling",
            type=click.Choice(["drop", "keep", "error"]),
            default="drop",
            show_default=True,
            help="What to do where base_config names a file that is not there: drop the line, leave the file, or stop.",
        ),
        click.option("-j", "--jobs", type=click.IntRange(min=1), help="Number of processes; one a core by default."),
    ]
    for option in reversed(options):
        command = option(command)
    return _shared(command)


def _limits(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that limit the search."""
    options = [
        click.option(
            "--max-depth", type=click.IntRange(min=1), default=4, show_default=True, help="Most templates in a row."
        ),
        click.option("--max-templates", type=click.IntRange(min=0), help="Most templates; no limit by default."),
        click.option(
            "--min-support",
            type=click.IntRange(min=2),
            default=2,
            show_default=True,
            help="Fewest files that a template serves.",
        ),
        click.option(
            "--default-share",
            type=click.FloatRange(0, 1),
            default=0.5,
            show_default=True,
            help="Share of the files below a template that must hold a value for it to be a default.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.group(cls=_Configs)
def configs() -> None:
    """Move what configuration files share into templates, and prove that nothing changes.

    PATH is rewritten in place: templates go to PATH/templates, and each file keeps what is its own under a base_config
    line. Every file is read back under YAML 1.1 and 1.2 and must be what it was before any is replaced;
    `bem-migrate undo` puts all back.
    """


_PATHS = click.argument("paths", nargs=-1, required=True, type=click.Path(), metavar="PATH...")


@configs.command(_RUN, cls=_Run, hidden=True)
@_PATHS
@_writing
@_limits
def run_command(**arguments: Any) -> None:
    """Move what the files under PATH share into templates."""
    from migrate.configs.run import run

    _finish(run(_options(arguments)), arguments)


@configs.command()
@_PATHS
@_writing
@_limits
def refit(**arguments: Any) -> None:
    """Start over: search again as if no template had been written, and show how much changes."""
    from migrate.configs.run import refit

    _finish(refit(_options(arguments)), arguments)


@configs.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(dir_okay=False), metavar="FILE...")
@_writing
def add(**arguments: Any) -> None:
    """Fit new files to the templates there are; no other file is touched."""
    from migrate.configs.add import add

    if not arguments["templates"]:
        arguments["templates"] = _nearest_templates(arguments["paths"][0])
    _finish(add(_options(arguments)), arguments)


@configs.command()
@click.argument("file", type=click.Path(dir_okay=False))
@click.option("-o", "--output", type=click.Path(dir_okay=False, writable=True), help="Write here instead of to stdout.")
def flatten(file: str, output: str | None) -> None:
    """Print FILE with everything that it inherits, comments included."""
    from migrate.configs.flatten import flattened

    text = flattened(file, sources.project_root([file]))
    if output:
        Path(output).write_text(text, encoding="utf-8", newline="")
    else:
        click.echo(text, nl=False)


@configs.command()
@click.argument("file", type=click.Path(dir_okay=False))
@click.argument("key")
def explain(file: str, key: str) -> None:
    """Say where FILE has the value of KEY from, and which values it shadows."""
    from bem_core.config.provenance import explain

    click.echo(str(explain(file, key, root=sources.project_root([file]))))


@configs.command()
@_PATHS
@_shared
@click.option("--no-schema", is_flag=True, help="Check only that bases resolve, for files of other programs.")
def check(no_schema: bool, quiet: bool, everything: bool, form: str, **arguments: Any) -> None:
    """Check that every file under PATH resolves and is a valid experiment."""
    import json

    from migrate.configs.check import check
    from migrate.configs.view import counted

    checked = check(_options(arguments), schema=not no_schema)
    if form == "json":
        found = [{"path": path, "problems": lines} for path, lines in checked.problems]
        document = {"version": 1, "files": checked.files, "problems": found, "notes": checked.notes}
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        lines = [line for _, found in checked.problems for line in found]
        for line in lines if everything else lines[:_SHOWN]:
            click.echo(line)
        if len(lines) > _SHOWN and not everything:
            click.echo(f"... and {len(lines) - _SHOWN} more: --all shows them")
        if not quiet:
            notes = (
                f"; legacy names or numbers as text, which load all the same: {checked.notes}" if checked.notes else ""
            )
            click.echo(f"{counted(checked.files, 'file')} checked, {len(checked.problems)} with problems{notes}")
    raise click.exceptions.Exit(int(bool(checked.problems)))


@configs.command()
@_PATHS
@click.option("--templates", metavar="DIR", help="Folder of the templates.  [default: PATH/templates]")
@click.option("--html", type=click.Path(dir_okay=False, writable=True), metavar="FILE", help="Write a page instead.")
def tree(html: str | None, **arguments: Any) -> None:
    """Draw which file under PATH extends which."""
    from migrate.configs import tree_view
    from migrate.configs.hierarchy import examine

    options = _options(arguments)
    hierarchy = examine(options)
    if html:
        title = f"Configurations in {options.home}"
        Path(html).write_text(tree_view.page(hierarchy, title), encoding="utf-8")
    else:
        _console().print(tree_view.tree(hierarchy))
    for path, reason in hierarchy.broken:
        click.echo(f"error: {path}: {reason}", err=True)
    raise click.exceptions.Exit(2 if hierarchy.broken else 0)


def _options(arguments: dict[str, Any]) -> Options:
    from migrate.configs.inputs import Options

    root = sources.project_root(arguments["paths"])
    if arguments.get("templates") and not any((root / mark).exists() for mark in _PROJECT_MARKS):
        root = sources.project_root([*arguments["paths"], arguments["templates"]])
    own = settings.load_settings(root, KINDS)
    return Options(
        paths=tuple(arguments["paths"]),
        root=root,
        mode=arguments.get("mode") or "write",
        templates=arguments.get("templates"),
        max_depth=arguments.get("max_depth", 4),
        max_templates=arguments.get("max_templates"),
        min_support=arguments.get("min_support", 2),
        default_share=arguments.get("default_share", 0.5),
        order=arguments.get("order") == "strict",
        pins=arguments.get("pins", ()),
        on_dangling=arguments.get("on_dangling", "drop"),
        include=arguments.get("include", ()),
        exclude=(*own.exclude, *arguments.get("exclude", ())),
        ignore=frozenset(own.ignore),
        jobs=arguments.get("jobs") or 0,
    )


def _nearest_templates(file: str) -> str:
    """Return the nearest folder of templates from a file upwards."""
    if not os.path.exists(file):
        raise ConfigError(f"no such file: {file!r}")
    folder = Path(os.path.abspath(file)).parent
    root = sources.project_root([file])
    for parent in (folder, *folder.parents):
        if (parent / "templates").is_dir():
            return os.path.relpath(parent / "templates")
        if parent == root:
            break
    raise BemError(f"no folder 'templates' beside {file} or above it; name it with --templates")


def _finish(report: Report, arguments: dict[str, Any]) -> None:
    """Show a report and leave with its exit code."""
    from migrate.configs import view

    for path, reason in report.errors:
        click.echo(f"error: {path}: {reason}", err=True)
    if arguments["form"] == "json":
        click.echo(view.to_json(report))
        raise click.exceptions.Exit(report.exit_code)
    if report.mode == "diff":
        for diff in report.changed.values():
            click.echo(diff, nl=False)
    if not arguments["quiet"]:
        view.show(report, _console(stderr=report.mode == "diff"), arguments["everything"])
    raise click.exceptions.Exit(report.exit_code)


def _console(stderr: bool = False) -> Console:
    from rich.console import Console

    console = Console(stderr=stderr, highlight=False, soft_wrap=True, emoji=False)
    if not console.is_terminal:
        console.width = 1000  # a pipe has none
    return console
