"""The file of a trace, which is made with the first record."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path

from .checkpoints import Saved, checkpoint_record
from .stream import Record, Writer, seal


class Output:
    """Writes records, and before each the checkpoints that were saved until then.

    Args:
        header: Returns the first record, and the file that this process may write.
        expected: Hooks that are expected when the first record is written.
        in_window: Tells whether a checkpoint after so many steps is recorded.

    Attributes:
        writer: None until there is a record.
        num_checkpoints: Those that were saved, recorded or not.
    """

    def __init__(
        self, header: Callable[[], tuple[Record, Path]], expected: set[str], in_window: Callable[[int], bool]
    ) -> None:
        self.writer: Writer | None = None
        self.num_checkpoints = 0
        self._header = header
        self._expected = expected
        self._in_window = in_window
        # Other threads save, too.
        self._saved: deque[tuple[int, Saved, str | None, bool]] = deque()

    def write(self, record: Record) -> None:
        """Write a record."""
        writer = self._opened()
        if self._saved:
            self._write_saved(writer)
        writer.write(record)

    def begin(self) -> None:
        """Make the file if there is none yet."""
        self._opened()

    def keep(self, after_step: int, one: Saved, file: str | None, best: bool) -> None:
        """Keep a checkpoint until something is written."""
        self._saved.append((after_step, one, file, best))

    def write_kept(self) -> None:
        """Write the checkpoints that were kept."""
        self._write_saved(self._opened())

    def abandon(self) -> None:
        """Leave the file to the process that this one was forked from."""
        if self.writer is not None:
            self.writer.abandon()

    def end(self, footer: Callable[[Writer], Record], sealed: bool) -> None:
        """Write the last record; nothing is added to a file that is sealed. Does nothing where there is no file."""
        if self.writer is None:
            return
        self._write_saved(self.writer)
        self.writer.write(footer(self.writer))
        self.writer.close()
        if sealed:
            seal(self.writer.path)

    def _opened(self) -> Writer:
        if self.writer is None:
            header, path = self._header()
            self.writer = Writer(path)
            self.writer.write({**header, "expected": sorted(self._expected)})
        return self.writer

    def _write_saved(self, writer: Writer) -> None:
        while self._saved:
            after_step, one, file, best = self._saved.popleft()
            if self._in_window(after_step):
                writer.write(checkpoint_record(self.num_checkpoints, after_step, one, file, best))
            self.num_checkpoints += 1
