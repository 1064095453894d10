"""The settings of a repository: ``[tool.bem-migrate]`` in its ``pyproject.toml``."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bem_core.errors import ConfigError, Location, nearest
from migrate.report import CODES

FILE = "pyproject.toml"
KEYS = ("mapping", "source-roots", "include", "exclude", "kinds", "ignore", "logger-names")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a repository says about its own migration; every field may be left out.

    Attributes:
        mapping: List of moves, or None for the shipped one.
        source_roots: Folders from which modules are imported; empty to find them.
        include: Globs of the files to look at; empty for all.
        exclude: Globs of files to leave alone.
        kinds: Kinds of file to rewrite; empty for all.
        ignore: Codes of findings not to report.
        logger_names: Whether names in ``logging.getLogger`` follow the moves.
    """

    mapping: Path | None = None
    source_roots: tuple[Path, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    logger_names: bool = False


def load_settings(project_root: Path, kinds: Collection[str], codes: Collection[str] = CODES) -> Settings:
    """Read the settings of the project in ``project_root``; a project without any gets the defaults.

    Paths in the file are relative to ``project_root``.

    Args:
        project_root: Folder of the ``pyproject.toml``.
        kinds: Valid kinds of file.
        codes: Valid codes of findings.

    Raises:
        ConfigError: The file cannot be read, or the table isn't valid; lists every problem.
    """
    path = project_root / FILE
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return Settings()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    if b"bem-migrate" not in data:
        return Settings()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{Location(str(path), line)}: not text in UTF-8") from error
    tool = _parse(text, str(path)).get("tool")
    table = tool.get("bem-migrate", {}) if isinstance(tool, dict) else {}
    return _Table(table, text, path).settings(kinds, codes)


def _parse(text: str, path: str) -> dict[str, Any]:
    import tomllib  # only for a project with settings: importing it costs as much as all the rest here

    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        place = re.search(r" \(at line (\d+), column (\d+)\)$", str(error))
        where = Location(path, int(place[1]), int(place[2])) if place else Location(path)
        raise ConfigError(f"{where}: not valid TOML: {str(error)[: place.start() if place else None]}") from error


class _Table:
    """The table while it is read; problems are collected and raised together."""

    def __init__(self, table: object, text: str, path: Path) -> None:
        self.path, self.root, self.lines = path, path.parent, _key_lines(text)
        self.problems: list[tuple[int, str]] = []
        self.table: dict[str, Any] = table if isinstance(table, dict) else {}
        if not isinstance(table, dict):
            self.problem("", f"is {_describe(table)}", "a table")

    def settings(self, kinds: Collection[str], codes: Collection[str]) -> Settings:
        """Return the settings, or raise every problem with them."""
        for key in self.table:
            if key not in KEYS:
                self.problem(key, "unknown key", f"one of {', '.join(KEYS)}", nearest(key, KEYS))
        mapping = self.value("mapping", str, "the path of a list of moves")
        logger_names = self.value("logger-names", bool, "true or false")
        found = Settings(
            mapping=self.root / mapping if mapping is not None else None,
            source_roots=tuple(self.root / root for root in self.strings("source-roots")),
            include=self.strings("include"),
            exclude=self.strings("exclude"),
            kinds=self.choices("kinds", kinds),
            ignore=self.choices("ignore", codes),
            logger_names=bool(logger_names),
        )
        if found.mapping and not os.path.isfile(found.mapping):
            self.problem("mapping", f"no file {str(found.mapping)!r}", "the path of a list of moves")
        for folder in found.source_roots:
            if not os.path.isdir(folder):
                self.problem("source-roots", f"no folder {str(folder)!r}", "folders that exist")
        if self.problems:
            raise ConfigError("\n".join(text for _, text in sorted(self.problems)))
        return found

    def value(self, key: str, kind: type[str | bool], expected: str) -> Any:
        value = self.table.get(key)
        if value is None or (isinstance(value, kind) and value != ""):
            return value
        self.problem(key, f"is {_describe(value)}", expected)
        return None

    def strings(self, key: str) -> tuple[str, ...]:
        value = self.table.get(key, [])
        if isinstance(value, list) and all(isinstance(item, str) and item for item in value):
            return tuple(value)
        if not isinstance(value, list):
            hint = f"; did you mean [{value!r}]?" if isinstance(value, str) and value else ""
            self.problem(key, f"is {_describe(value)}", "a list of strings", hint)
            return ()
        for number, item in enumerate(value):
            if not isinstance(item, str) or not item:
                self.problem(key, f"item {number + 1} is {_describe(item)}", "a string")
        return ()

    def choices(self, key: str, valid: Collection[str]) -> tuple[str, ...]:
        chosen = self.strings(key)
        for item in chosen:
            if item not in valid:
                self.problem(key, f"unknown name {item!r}", f"one of {', '.join(valid)}", nearest(item, valid))
        return chosen

    def problem(self, key: str, what: str, expected: str, hint: str = "") -> None:
        line = self.lines.get(key, 0)
        dotted = f"tool.bem-migrate.{key}" if key else "tool.bem-migrate"
        self.problems.append((line, f"{Location(str(self.path), line)}: {dotted}: {what}; expected {expected}{hint}"))


def _describe(value: object) -> str:
    if value == "":
        return "empty"
    names = {bool: "a boolean", str: "a string", int: "a number", float: "a number", list: "a list", dict: "a table"}
    return f"{names.get(type(value), 'a date')} ({str(value)[:40]})" if not isinstance(value, dict) else "a table"


def _key_lines(text: str) -> dict[str, int]:
    """Return the line of each key that stands under a ``[tool.bem-migrate]`` header, and of the header as ``''``.

    Other spellings of the table, such as an inline one, just have no line numbers.
    """
    lines: dict[str, int] = {}
    inside = False
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[\s*([^\[\]]+?)\s*\]\s*(?:#|$)", line)
        if header:
            inside = re.sub(r"[\s\"']", "", header[1]) == "tool.bem-migrate"
            if inside:
                lines[""] = number
        elif inside and (key := re.match(r"\s*[\"']?([\w\-]+)[\"']?\s*=", line)):
            lines.setdefault(key[1], number)
    return lines
