"""Errors that a user can act on: each says what was wrong, where, and what was expected."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


class BemError(Exception):
    """Base of every error that a command line shows as text instead of a traceback."""


class ConfigError(BemError):
    """A configuration file, key or value is not valid."""


class DataError(BemError):
    """A file of samples, or the samples in it, cannot be used."""


class CheckpointError(BemError):
    """A checkpoint cannot be written or read, is damaged, or does not fit what it is loaded into."""


class TrainingError(BemError):
    """A run cannot begin or go on."""


class TrainingInterrupted(TrainingError):
    """A signal ended a run, after its step was finished and saved.

    Attributes:
        exit_code: What a program ends with by convention: 128 and the number of the signal.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class Location:
    """A place in a file; lines and columns count from 1, and 0 means unknown.

    Attributes:
        path: The file as the user would name it.
        line: Line number.
        column: Column number, in characters.
    """

    path: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        """Return ``path:line:column`` without the parts that are unknown."""
        parts = [self.path, *(str(n) for n in (self.line, self.column) if n)]
        return ":".join(parts)


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the valid name closest to ``name``, or nothing."""
    close = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""
