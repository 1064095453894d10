"""What every command line of the project does with exceptions: a message on stderr and an exit code.

Nothing heavy is imported here, so that ``--help`` answers at once.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from bem_core.errors import BemError, TrainingInterrupted

ERROR = 2
INTERRUPTED = 130
BROKEN_PIPE = 141  # what a shell reports for a program that died of SIGPIPE
_DEBUG = "bem_core.debug"


def _set_debug(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        ctx.meta[_DEBUG] = True


def debug_option() -> click.Option:
    """Return the option ``--debug``, for `messages` to look at."""
    return click.Option(
        ["--debug"], is_flag=True, expose_value=False, callback=_set_debug, help="Show the traceback of an error."
    )


class Command(click.Command):
    """A command without subcommands, with ``--debug``; its exceptions become messages."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(debug_option())

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with messages(ctx):
            return super().invoke(ctx)


@contextmanager
def messages(ctx: click.Context) -> Iterator[None]:
    """Turn what is raised inside into a message and an exit code; the last boundary of a program."""
    try:
        try:
            yield
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
    except TrainingInterrupted as error:
        _fail(ctx, f"interrupted: {error}", error.exit_code)
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
