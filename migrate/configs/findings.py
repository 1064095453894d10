"""What a run over configurations reports, with stable codes."""

from __future__ import annotations

from migrate.configs.layout import Comment
from migrate.configs.source import Source
from migrate.report import Finding

DANGLING, COMMENT = "BM201", "BM202"


def at(source: Source, offset: int, code: str, message: str, hint: str = "") -> Finding:
    """Return a finding at a place in a file."""
    text = source.text
    start = text.rfind("\n", 0, offset) + 1
    line = text[start:].split("\n", 1)[0].rstrip("\r")
    return Finding(source.path, text.count("\n", 0, offset) + 1, offset - start + 1, code, message, hint, line)


def lost(source: Source, comment: Comment, why: str) -> Finding:
    """Return the finding for a comment that vanishes."""
    return at(source, comment.offset, COMMENT, f"comment of {'.'.join(comment.path)} is gone, {why}: {comment.text}")
