"""Reading a list of moves from YAML or JSON, with every problem reported at its place."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from bem_core.errors import ConfigError, Location
from migrate.moves import Move, Moves
from migrate.moves_check import check
from migrate.moves_entries import entries
from migrate.nodes import MAX_CHARS, TOO_LARGE, Problems, Stop, compose


class MovesError(ConfigError):
    """A list of moves is not valid; the text has one line for each problem."""


def load(path: Path) -> Moves:
    """Read a list of moves.

    Raises:
        MovesError: The file cannot be read, or something in it isn't valid; lists every problem.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CHARS + 1)
    except OSError as error:
        raise MovesError(f"{path}: cannot be read: {error.strerror or error}") from error
    if len(data) > MAX_CHARS:
        raise MovesError(f"{path}: {TOO_LARGE}")
    try:
        return parse(data.decode("utf-8-sig"), str(path))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise MovesError(f"{Location(str(path), line)}: not text in UTF-8; expected a YAML or JSON file") from error


@cache
def shipped() -> Moves:
    """Return the list that comes with the package."""
    from importlib import resources  # slow to import, and a repository with a list of its own doesn't need it

    text = resources.files("migrate").joinpath("mappings", "bem.yaml").read_text(encoding="utf-8")
    return parse(text, "migrate/mappings/bem.yaml")


def parse(text: str, source: str) -> Moves:
    """Read a list of moves from its text.

    Args:
        text: YAML or JSON, in the long or the short form.
        source: File the text is from, for messages; where it ends in ``.json``, the text must be JSON.

    Raises:
        MovesError: Something isn't valid; lists every problem.
    """
    problems = Problems()
    moves: dict[str, Move] = {}
    try:
        root = compose(text, source, problems)
        if root is not None:
            moves = check(list(entries(root, problems)), problems)
    except Stop:
        pass
    if problems.found:
        raise MovesError(problems.text(source))
    return Moves(moves, source)
