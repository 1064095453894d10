"""Where log records go: to the console, and to a file."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TextIO

from bem_core.errors import BemError, nearest

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_MARK = "bem_core.logging"
_FORMAT = "%(asctime)s %(levelname)s {rank}%(name)s: %(message)s"


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to what is ``sys.stderr`` at that moment, which a progress bar replaces while it is shown."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr


def configure_logging(
    level: str | int = "INFO", log_file: Path | str | None = None, console: bool = True, rank: int = 0
) -> None:
    """Send the records of all loggers to stderr and to a file.

    A second call replaces what the first one set up. Handlers that others gave to the root logger stay as they are; its
    level becomes ``level`` where it was higher.

    Args:
        level: Least level that is shown, such as ``DEBUG``.
        log_file: Appended to, in UTF-8; its folder is made. Processes other than the first write to a file of their own
            beside it: ``train.rank3.log`` for ``train.log``.
        console: Whether to write to stderr.
        rank: Number of this process; all but the first show only warnings and errors on the console.

    Raises:
        BemError: There is no such level, or the file cannot be opened.
    """
    number = _level_number(level)
    handlers: list[logging.Handler] = []
    text = _FORMAT.format(rank=f"[rank {rank}] " if rank else "")
    if log_file is not None:
        handlers.append(_file_handler(Path(log_file), rank))
        handlers[-1].setFormatter(logging.Formatter(text))
        handlers[-1].setLevel(number)
    if console:
        handlers.append(_Stderr())
        handlers[-1].setFormatter(logging.Formatter(text, "%H:%M:%S"))
        handlers[-1].setLevel(max(number, logging.WARNING) if rank else number)
    _install(handlers, number)


def _level_number(level: str | int) -> int:
    if isinstance(level, int):
        return level
    if level.upper() not in LEVELS:
        raise BemError(f"unknown log level {level!r}{nearest(level.upper(), LEVELS)}; there are {', '.join(LEVELS)}")
    return logging.getLevelNamesMapping()[level.upper()]


def _file_handler(path: Path, rank: int) -> logging.FileHandler:
    if rank:
        path = path.with_name(f"{path.stem}.rank{rank}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        raise BemError(f"{path}: cannot write the log: {error.strerror or error}") from error


def _install(handlers: list[logging.Handler], level: int) -> None:
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if handler.get_name() == _MARK:
            root.removeHandler(handler)
            handler.close()
    for handler in handlers:
        handler.set_name(_MARK)
        root.addHandler(handler)
    if handlers and root.level > level:
        root.setLevel(level)
