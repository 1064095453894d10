"""A text cut out of another one, with the way back for every character."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from migrate.edits import Edit

Encode = Callable[[str], str | None]

LINE_BREAK = re.compile(r"\r\n|\r|\n")


def one_line(new: str) -> str | None:
    """Spell new text where a line break can't be written."""
    return None if LINE_BREAK.search(new) else new


def with_prefix(prefix: str) -> Encode:
    """Spell new text where each further line starts with ``prefix``: an indented or quoted block."""
    return lambda new: LINE_BREAK.sub(lambda found: found.group() + prefix, new)


@dataclass(frozen=True, slots=True)
class View:
    """Text with prefixes and escapes taken out.

    Attributes:
        text: What a rewriter reads.
        starts: Offset in the outer text where each character's spelling starts; -1 for characters that aren't there.
        ends: Offset where it ends.
        encode: Spells new text in the outer text; None when it can't be written there.
        parts: Where pieces with spellings of their own start, in order, and those spellings.
    """

    text: str
    starts: Sequence[int]
    ends: Sequence[int]
    encode: Encode = one_line
    parts: tuple[tuple[int, Encode], ...] = ()

    def span(self, start: int, end: int) -> tuple[int, int] | None:
        """Return the outer span of ``text[start:end]``, or None when part of it isn't in the outer text."""
        if start == end:
            at = self.outer(start)
            return None if at is None else (at, at)
        if any(at < 0 for at in self.starts[start:end]):
            return None
        return self.starts[start], self.ends[end - 1]

    def outer(self, offset: int) -> int | None:
        """Return the outer offset of a position; positions in synthetic text have none."""
        if offset < len(self.starts) and self.starts[offset] >= 0:
            return self.starts[offset]
        if 0 < offset <= len(self.ends) and self.ends[offset - 1] >= 0:
            return self.ends[offset - 1]
        return None

    def nearest(self, offset: int) -> int:
        """Return an outer offset for a finding: that of the position or of the closest real character before it."""
        for at in range(min(offset, len(self.starts) - 1), -1, -1):
            if self.starts[at] >= 0:
                return self.starts[at]
        return max(self.ends, default=0)

    def edit(self, edit: Edit) -> Edit | None:
        """Carry an edit of this text over to the outer one; None when it can't be written there."""
        edit = edit if self._contiguous(edit.start, edit.end) else _trimmed(self.text, edit)
        encode = next((own for start, own in reversed(self.parts) if start <= edit.start), self.encode)
        span, new = self.span(edit.start, edit.end), encode(edit.new)
        return None if span is None or new is None else Edit(*span, new, edit.kind)

    def _contiguous(self, start: int, end: int) -> bool:
        return start == end or self.ends[end - 1] - self.starts[start] == end - start

    def offset(self, line: int, column: int) -> int:
        """Return the position in this text of a line and column, both from 1."""
        start = 0
        for _ in range(line - 1):
            found = LINE_BREAK.search(self.text, start)
            if found is None:
                break
            start = found.end()
        return min(start + column - 1, len(self.text))


def _trimmed(text: str, edit: Edit) -> Edit:
    """Leave out what the replaced and the new text have in common at both ends."""
    old, new = text[edit.start : edit.end], edit.new
    limit = min(len(old), len(new))
    head = next((n for n in range(limit) if old[n] != new[n]), limit)
    limit -= head
    tail = next((n for n in range(limit) if old[-1 - n] != new[-1 - n]), limit)
    return Edit(edit.start + head, edit.end - tail, new[head : len(new) - tail], edit.kind)


def cut(text: str, start: int, end: int, encode: Encode = one_line) -> View:
    """Return a view of a plain slice."""
    return View(text[start:end], range(start, end), range(start + 1, end + 1), encode)


def composed(outer: View, inner: View) -> View:
    """Return a view of a view as one of the outermost text."""
    starts = [outer.starts[at] if at >= 0 else -1 for at in inner.starts]
    ends = [outer.ends[at - 1] if at > 0 else -1 for at in inner.ends]

    def encode(new: str) -> str | None:
        spelled = inner.encode(new)
        return None if spelled is None else outer.encode(spelled)

    return View(inner.text, starts, ends, encode)


@dataclass(slots=True)
class Builder:
    """Collects the pieces of a view."""

    parts: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)

    def raw(self, text: str, start: int, end: int) -> None:
        """Add a slice of the outer text as it is."""
        self.parts.append(text[start:end])
        self.starts.extend(range(start, end))
        self.ends.extend(range(start + 1, end + 1))

    def decoded(self, value: str, start: int, end: int) -> None:
        """Add text that the outer one spells in another way, as one unit."""
        self.parts.append(value)
        self.starts.extend([start] * len(value))
        self.ends.extend([end] * len(value))

    def synthetic(self, value: str) -> None:
        """Add text that the outer one hasn't."""
        self.parts.append(value)
        self.starts.extend([-1] * len(value))
        self.ends.extend([-1] * len(value))

    def view(self, encode: Encode = one_line) -> View:
        """Return what was collected."""
        return View("".join(self.parts), self.starts, self.ends, encode)
