"""Data sets in JSON Lines files of any size, read line by line from a memory map."""

from __future__ import annotations

import codecs
import json
import mmap
import operator
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset

from bem_core.errors import DataError, Location

_CHUNK_BYTES = 1 << 24
_SHOWN = 10
_NEWLINE = ord("\n")


class JsonLines(Dataset[Any]):
    """The values of a JSON Lines file, in UTF-8, by number; blank lines do not count.

    Memory: 8 bytes a line; the text itself is mapped, so that the system keeps of it what it has room for, once for all
    workers. An object of this class can go to workers that are forked or spawned.

    Args:
        path: The file. It must not change while it is in use.

    Raises:
        DataError: The file cannot be read, or has no line.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._map: mmap.mmap | None = None
        self._state: tuple[int, int] | None = None
        self._starts = _line_starts(self._text())
        if not len(self._starts):
            raise DataError(f"{path}: no line in it: expected one JSON value a line")

    def __len__(self) -> int:
        """Return the number of values."""
        return len(self._starts)

    def __getitem__(self, index: SupportsIndex) -> Any:
        """Return a value; negative numbers count from the end.

        Raises:
            DataError: The line is not JSON; names its place.
            IndexError: There is no such line.
        """
        number = operator.index(index)
        if not -len(self) <= number < len(self):
            raise IndexError(f"{self.path}: no value {number}: there are {len(self)}")
        text, start = self._text(), int(self._starts[number])
        end = text.find(b"\n", start)
        line = text[start : end if end >= 0 else len(text)]
        try:
            return json.loads(line.decode())
        except (ValueError, RecursionError) as error:
            raise DataError(_describe(self.path, text, start, line, error)) from error

    def __iter__(self) -> Iterator[Any]:
        """Yield all values in the order of the file."""
        return (self[index] for index in range(len(self)))

    def where(self, index: int) -> str:
        """Return ``path:line`` of a value."""
        start = int(self._starts[index])
        return str(Location(str(self.path), _line_number(self._text(), start)))

    def validate(self) -> None:
        """Read every line once.

        Raises:
            DataError: Some lines are not JSON; names the places of the first ten.
        """
        problems, count = [], 0
        for index in range(len(self)):
            try:
                self[index]
            except DataError as error:
                count += 1
                problems += [str(error)] if count <= _SHOWN else []
        if problems:
            more = [f"and {count - _SHOWN} more"] if count > _SHOWN else []
            raise DataError("\n".join(problems + more))

    def _text(self) -> mmap.mmap:
        if self._map is None:
            self._map, state = _open(self.path)
            if self._state not in (None, state):
                raise DataError(f"{self.path}: changed while it was in use")
            self._state = state
        return self._map

    def __getstate__(self) -> dict[str, Any]:
        """Return all but the map, which a process opens for itself."""
        return {**self.__dict__, "_map": None}


def _open(path: Path) -> tuple[mmap.mmap, tuple[int, int]]:
    """Return a map of the file, and its size and time of change."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if not status.st_size:
                raise DataError(f"{path}: empty: expected one JSON value a line")
            text = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            return text, (status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def _line_starts(text: mmap.mmap) -> npt.NDArray[np.int64]:
    """Return the offsets of the lines that are not blank."""
    first = len(codecs.BOM_UTF8) if text[:3] == codecs.BOM_UTF8 else 0
    pieces = [np.array([first])]
    for offset in range(0, len(text), _CHUNK_BYTES):
        chunk = np.frombuffer(text[offset : offset + _CHUNK_BYTES], dtype=np.uint8)
        pieces.append(np.flatnonzero(chunk == _NEWLINE) + (offset + 1))
    starts = np.concatenate(pieces)
    starts = starts[starts < len(text)]
    return starts[~_blank(text, starts)]


def _blank(text: mmap.mmap, starts: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Return which lines have nothing but white space."""
    first_bytes = np.fromiter((text[start] for start in starts), dtype=np.uint8, count=len(starts))
    blank = np.isin(first_bytes, np.frombuffer(b" \t\r\n", dtype=np.uint8))
    for index in np.flatnonzero(blank):
        end = text.find(b"\n", starts[index])
        blank[index] = not text[starts[index] : end if end >= 0 else len(text)].strip()
    return blank


def _line_number(text: mmap.mmap, start: int) -> int:
    return 1 + sum(text[at : min(at + _CHUNK_BYTES, start)].count(b"\n") for at in range(0, start, _CHUNK_BYTES))


def _describe(path: Path, text: mmap.mmap, start: int, line: bytes, error: Exception) -> str:
    number = _line_number(text, start)
    if isinstance(error, json.JSONDecodeError):
        return f"{Location(str(path), number, error.colno)}: not JSON: {error.msg}"
    if isinstance(error, UnicodeDecodeError):
        column = 1 + len(line[: error.start].decode())
        return f"{Location(str(path), number, column)}: not UTF-8: {error.reason}"
    return f"{Location(str(path), number)}: not JSON that can be read: {error}"
