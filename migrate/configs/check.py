"""``configs check``: every file resolves and is a valid experiment."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bem_core.config.config_loader import load_experiment_config
from bem_core.config.resolver import Resolver
from bem_core.errors import ConfigError
from migrate.configs.inputs import Options, find_files


@dataclass
class Checked:
    """What a check found.

    Attributes:
        files: Number of files.
        problems: Files that do not resolve or are not valid, with a line for each problem.
        notes: Number of legacy names, and of numbers that are texts, in files that load all the same.
    """

    files: int = 0
    problems: list[tuple[str, list[str]]] = field(default_factory=list)
    notes: int = 0


def check(options: Options, schema: bool = True) -> Checked:
    """Check every file.

    Args:
        options: Where to look.
        schema: Whether the files must be experiments as the schema has them; templates need only resolve.
    """
    listing = find_files(options)
    resolver = Resolver(options.root)
    found = Checked(len(listing.files), [(path, [f"{path}: {reason}"]) for path, reason in listing.errors])
    folder = Path(options.folder).resolve()
    for file in listing.files:
        path = Path(file.path)
        try:
            resolver.resolve(path)
            if schema and not path.resolve().is_relative_to(folder):
                with _quiet():
                    found.notes += len(load_experiment_config(path, root=options.root).findings)
        except ConfigError as error:
            found.problems.append((file.path, str(error).splitlines()))
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the loader from logging what is counted here."""
    logger = logging.getLogger("bem_core.config")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
