"""The commands ``imports`` and ``doctor``: parse the command line, call, render, exit."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from bem_core.errors import BemError
from migrate import settings, sources
from migrate.imports.kinds import KINDS

if TYPE_CHECKING:
    from rich.console import Console

    from migrate.imports.run import Options, Report
    from migrate.moves import Moves

_STDIN = "-"
_STDIN_NAME = "stdin.py"


class KindList(click.ParamType[tuple[str, ...]]):
    """A comma-separated list of kinds of file."""

    name = "kinds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Split the list and check each kind."""
        if isinstance(value, tuple):
            return value
        kinds = tuple(kind for kind in str(value).replace(" ", "").split(",") if kind)
        wrong = [kind for kind in kinds if kind not in KINDS]
        if wrong or not kinds:
            self.fail(
                f"{', '.join(wrong) or 'nothing'} is no kind of file; expected some of {','.join(KINDS)}", param, ctx
            )
        return kinds


def _common(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that both commands have."""
    options = [
        click.option("--mapping", type=click.Path(path_type=Path), help="List of moves (YAML or JSON)."),
        click.option(
            "--source-root",
            "source_roots",
            multiple=True,
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            help="Folder from which modules are imported; may be repeated. Found when left away.",
        ),
        click.option("--include", multiple=True, metavar="GLOB", help="Look only at these files; may be repeated."),
        click.option("--exclude", multiple=True, metavar="GLOB", help="Leave these files alone; may be repeated."),
        click.option("-q", "--quiet", is_flag=True, help="Print errors only."),
        click.option("--all", "everything", is_flag=True, help="Print every finding, not just the first."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(), metavar="PATH...")
@_common
@click.option("--diff", "mode", flag_value="diff", help="Show the changes and write nothing.")
@click.option("--check", "mode", flag_value="check", help="Write nothing; exit 1 when something is left to do.")
@click.option("-j", "--jobs", type=click.IntRange(min=1), help="Number of processes; one a core by default.")
@click.option("--kinds", type=KindList(), help=f"Kinds of file to look at: {','.join(KINDS)}; all by default.")
@click.option("--ignore", multiple=True, metavar="CODE", help="Do not report these findings; may be repeated.")
@click.option("--logger-names", is_flag=True, help="Rewrite the names given to logging.getLogger, too.")
@click.option("--format", "form", type=click.Choice(["text", "json", "sarif", "github"]), default="text")
@click.option("--stdin-filename", help="What '-' is to be treated as; stdin.py by default.")
def imports(
    paths: tuple[str, ...],
    mapping: Path | None,
    source_roots: tuple[Path, ...],
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    quiet: bool,
    everything: bool,
    mode: Literal["diff", "check"] | None,
    jobs: int | None,
    kinds: tuple[str, ...] | None,
    ignore: tuple[str, ...],
    logger_names: bool,
    form: str,
    stdin_filename: str | None,
) -> None:
    """Rewrite every reference to a moved module or name under PATH.

    Files are replaced one by one, each at once; `bem-migrate undo` puts them back. With '-' as PATH, reads standard
    input and writes the result to standard output.
    """
    from migrate.imports.run import Options, run

    stdin = paths == (_STDIN,)
    _require_sense(paths, mode, form, stdin_filename, kinds)
    root = sources.project_root([str(Path(stdin_filename or _STDIN_NAME).parent)] if stdin else paths)
    own = settings.load_settings(root, KINDS)
    _require_one_project(paths, root)
    options = Options(
        paths=paths,
        root=root,
        kinds=kinds or own.kinds or KINDS,
        mode=mode or "write",
        jobs=jobs or 0,
        source_roots=source_roots or own.source_roots,
        include=include or own.include,
        exclude=(*own.exclude, *exclude),
        ignore=frozenset((*own.ignore, *_codes(ignore))),
        logger_names=logger_names or own.logger_names,
    )
    moves = _moves(mapping or own.mapping)
    if stdin:
        _filter_stdin(options, moves, stdin_filename or _STDIN_NAME)
    with _Progress(not quiet and form == "text") as progress:
        report = run(options, moves, progress.update)
    _render(report, form, quiet, everything)
    raise click.exceptions.Exit(report.exit_code)


def _require_sense(
    paths: tuple[str, ...], mode: str | None, form: str, stdin_filename: str | None, kinds: tuple[str, ...] | None
) -> None:
    """Refuse options that would have no effect together."""
    if _STDIN in paths and len(paths) > 1:
        raise click.UsageError("'-' stands alone: standard input cannot be combined with other paths")
    if _STDIN in paths and (form != "text" or kinds):
        raise click.UsageError("'-' is rewritten to standard output: --format and --kinds do not apply")
    if _STDIN not in paths and stdin_filename is not None:
        raise click.UsageError("--stdin-filename only applies to '-'")
    if mode == "diff" and form != "text":
        raise click.UsageError("--diff prints a patch: --format does not apply")


def _require_one_project(paths: tuple[str, ...], root: Path) -> None:
    """Refuse paths in several projects when one of them has settings, which would not be read."""
    for path in paths:
        own = sources.project_root([path])
        if own != root and settings.load_settings(own, KINDS) != settings.Settings():
            raise BemError(f"{own} has its own [tool.bem-migrate] settings: run once for each project")


def _codes(codes: tuple[str, ...]) -> list[str]:
    from bem_core.errors import nearest
    from migrate.report import CODES

    wanted = [code.strip() for one in codes for code in one.split(",") if code.strip()]
    for code in wanted:
        if code not in CODES:
            raise BemError(f"--ignore: no finding has the code {code!r}{nearest(code, CODES)}")
    return wanted


def _moves(mapping: Path | None) -> Moves:
    from migrate import moves_file

    return moves_file.load(mapping) if mapping is not None else moves_file.shipped()


def _filter_stdin(options: Options, moves: Moves, name: str) -> None:
    """Rewrite standard input to standard output, byte for byte where nothing changes."""
    from migrate.diffs import unified
    from migrate.imports.run import rewrite_text

    data = sys.stdin.buffer.read()
    try:
        decoded = sources.decode(data, python=name.endswith((".py", ".pyi", ".pyw")))
    except sources.DecodeError as error:
        click.echo(f"{name}:1:1: BM108 cannot be decoded: {error}", err=True)
        _put(data if options.mode == "write" else b"")
        raise click.exceptions.Exit(1) from None
    text, result = rewrite_text(decoded.text, name, options, moves)
    for finding in result.findings:
        click.echo(f"{finding.path}:{finding.line}:{finding.column}: {finding.code} {finding.message}", err=True)
    new = sources.encode(text, decoded) if result.references else data
    if options.mode != "check":
        _put(unified(name, data, new) if options.mode == "diff" else new)
    left = bool(result.references) and options.mode != "write"
    raise click.exceptions.Exit(int(left or bool(result.findings)))


def _put(data: bytes) -> None:
    """Write bytes to standard output as they are, in order with what was printed before."""
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


class _Progress:
    """A progress bar on a terminal, nothing elsewhere. It draws only when told to: no thread is alive at a fork."""

    def __init__(self, wanted: bool) -> None:
        self._wanted = wanted and sys.stderr.isatty()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> _Progress:
        return self

    def update(self, done: int, total: int) -> None:
        """Show how many files are done."""
        if not self._wanted:
            return
        if self._bar is None:
            from rich.console import Console
            from rich.progress import Progress

            self._bar = Progress(console=Console(stderr=True), transient=True, auto_refresh=False)
            self._bar.start()
            self._task = self._bar.add_task("rewriting", total=total)
        self._bar.update(self._task, completed=done)
        self._bar.refresh()

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()


def _console(stderr: bool = False) -> Console:
    from rich.console import Console

    console = Console(stderr=stderr, highlight=False, soft_wrap=True, emoji=False)
    if not console.is_terminal:
        console.width = 1000  # a pipe or a file has no width, and nothing should be cut for it
    return console


def _render(report: Report, form: str, quiet: bool, everything: bool) -> None:
    from migrate.imports import view

    for path, reason in report.errors:
        click.echo(f"error: {path}: {reason}", err=True)
    if form != "text":
        render = {"json": view.to_json, "sarif": view.to_sarif, "github": view.to_github}[form]
        click.echo(render(report))
        return
    if report.mode == "diff":
        for result in report.results:
            _put(result.diff)
    if not quiet:
        view.show(report, _console(stderr=report.mode == "diff"), everything)


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(), metavar="PATH...")
@_common
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text")
def doctor(
    paths: tuple[str, ...],
    mapping: Path | None,
    source_roots: tuple[Path, ...],
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    quiet: bool,
    everything: bool,
    form: str,
) -> None:
    """List the imports that resolve to nothing, under each import root, before and after the moves.

    Nothing is executed.
    """
    from migrate.imports import doctor as examination
    from migrate.imports import doctor_view
    from migrate.imports.kinds import kind_of
    from migrate.imports.run import Options, index_of, is_module

    root = sources.project_root(paths)
    own = settings.load_settings(root, KINDS)
    roots = source_roots or own.source_roots
    listing = sources.find(paths, ("py",), include or own.include, (*own.exclude, *exclude), root, kind_of)
    options = Options(paths=paths, root=root, kinds=("py",), source_roots=roots)
    tree = index_of(options, listing.files)
    moves = _moves(mapping or own.mapping).under(tree.prefixes).with_kinds(is_module(tree))
    report = examination.run_doctor([file.path for file in listing.files], roots, moves, root)
    for path, reason in listing.errors:
        click.echo(f"error: {path}: {reason}", err=True)
    if form == "json":
        click.echo(examination.to_json(report))
    elif not quiet:
        doctor_view.render(report, _console(), all_rows=everything)
    raise click.exceptions.Exit(2 if listing.errors else report.exit_code)
