"""The ``bem-migrate`` command: finds the subcommand, shows errors as one line, decides the exit code.

Nothing heavy is imported here: ``--help``, ``--version`` and completion answer before torch, libcst, yaml or rich load.
"""

from __future__ import annotations

import importlib
from typing import Any

import click

from bem_core import __version__
from bem_core.command_line import debug_option, messages


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
            command.params.append(debug_option())
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
        with messages(ctx):
            return super().invoke(ctx)


@click.group(
    cls=Program,
    commands=[
        LazyCommand("imports", "migrate.imports.command:imports", "Rewrite references to moved modules and names."),
        LazyCommand("doctor", "migrate.imports.command:doctor", "List imports that resolve to nothing."),
        LazyCommand(
            "configs", "migrate.configs.command:configs", "Move what configuration files share into templates."
        ),
        LazyCommand("verify", "migrate.verify.command:verify", "Prove that two trainings do the same."),
        LazyCommand("undo", "migrate.undo:undo", "Put back the files that a run has changed."),
    ],
    params=[debug_option()],
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
