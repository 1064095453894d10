"""The ``bem-migrate`` command: finds the subcommand, shows errors as one line, decides the exit code.

Nothing heavy is imported here: ``--help``, ``--version`` and completion answer before torch, libcst, yaml or rich load.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from typing import Any

import click

from bem_core import __version__
from bem_core.errors import BemError

ERROR = 2
INTERRUPTED = 130
BROKEN_PIPE = 141  # what a shell reports for a program that died of SIGPIPE
_DEBUG = "migrate.debug"


def _set_debug(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        ctx.meta[_DEBUG] = True


def _debug_option() -> click.Option:
    return click.Option(
        ["--debug"], is_flag=True, expose_value=False, callback=_set_debug, help="Show the traceback of an error."
    )


class LazyCommand(click.Command):
    """A subcommand whose module is imported when it is run or asked for its own help.

    Args:
        name: The name on the command line.
        target: Where the real command is, as ``module:attribute``.
        short_help: Its line in the help of the group.
    """

    def __init__(self, name: str, target: str, short_help: str) -> None:
        super().__init__(name, short_help=short_help)
        self.target = target

    def load(self) -> click.Command:
        """Import the real command and give it the options that every command has."""
        module, _, attribute = self.target.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        if not any("--debug" in param.opts for param in command.params):
            command.params.append(_debug_option())
        return command

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Return the context of the real command, which click then invokes and completes."""
        return self.load().make_context(info_name, args, parent, **extra)


class Program(click.Group):
    """The top-level group: the one place where an exception becomes a message and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand; see the table of exit codes in the README."""
        try:
            try:
                return super().invoke(ctx)
            finally:
                # Here and not at the interpreter's exit, where a closed pipe can no longer be caught.
                sys.stdout.flush()
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except BrokenPipeError:
            _discard_output()
            ctx.exit(BROKEN_PIPE)
        except KeyboardInterrupt as error:
            _fail(ctx, ": ".join(["interrupted", *map(str, error.args)]), INTERRUPTED)
        except BemError as error:
            _fail(ctx, f"error: {error}", ERROR)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            _fail(ctx, f"error: {where}{error.strerror or error}", ERROR)
        except Exception as error:  # noqa: BLE001 - the last boundary: no traceback reaches a user unasked
            text = " ".join(f"internal error: {type(error).__name__}: {error}".split())
            _fail(ctx, text if ctx.meta.get(_DEBUG) else f"{text}; run with --debug", ERROR)


def _discard_output() -> None:
    """Point stdout at nothing, so that what is still buffered cannot fail again when Python exits."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def _fail(ctx: click.Context, message: str, code: int) -> None:
    if ctx.meta.get(_DEBUG):
        traceback.print_exc()
    click.echo(message, err=True)
    ctx.exit(code)


@click.group(
    cls=Program,
    commands=[
        LazyCommand("imports", "migrate.imports.command:imports", "Rewrite references to moved modules and names."),
        LazyCommand("doctor", "migrate.imports.command:doctor", "List imports that resolve to nothing."),
        LazyCommand(
            "configs", "migrate.configs.command:configs", "Move what configuration files share into templates."
        ),
        LazyCommand("undo", "migrate.undo:undo", "Put back the files that a run has changed."),
    ],
    params=[_debug_option()],
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="bem-migrate", message="%(prog)s %(version)s")
def main() -> None:
    """Move a repository to new module names, and take it back.

    Exit codes: 0 nothing is left to do; 1 changes or findings remain; 2 an error.
    """


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    For bash: eval "$(bem-migrate completion bash)"
    """
    from click.shell_completion import get_completion_class

    script = get_completion_class(shell)
    if script is not None:
        click.echo(script(main, {}, "bem-migrate", "_BEM_MIGRATE_COMPLETE").source())


if __name__ == "__main__":
    main(prog_name="bem-migrate")
