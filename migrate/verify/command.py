"""``bem-migrate verify``: the group of its commands, each imported when it is run."""

from __future__ import annotations

import click

from migrate.cli import LazyCommand


@click.group(
    commands=[
        LazyCommand("trace", "migrate.verify.trace.command:trace", "Record what a command trains."),
        LazyCommand("compare", "migrate.verify.commands:compare", "Compare two recorded trainings."),
        LazyCommand("run", "migrate.verify.commands:run", "Run both sides of cases, and compare them."),
        LazyCommand("bisect", "migrate.verify.commands:bisect", "Find where two long runs part, by checkpoints."),
        LazyCommand("configs", "migrate.verify.commands_files:configs", "Compare what configurations resolve to."),
        LazyCommand("checkpoints", "migrate.verify.commands_files:checkpoints", "Compare what two checkpoints hold."),
    ],
)
def verify() -> None:
    """Prove that two trainings do the same.

    Exit codes: 0 identical, or within a tolerance that the case gives a reason for; 1 different; 2 an error; 3 nothing
    can be said, because a side failed or the environments differ; 4 too little happened to say anything; 5 a waiver
    was not needed or has expired.
    """
