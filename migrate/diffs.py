"""Unified diffs of bytes, as ``patch -p1`` and ``git apply`` take them."""

from __future__ import annotations

import difflib
import os

_ESCAPES = {9: b"\\t", 10: b"\\n", 13: b"\\r", 34: b'\\"', 92: b"\\\\"}


def unified(path: str, old: bytes, new: bytes) -> bytes:
    """Return the difference between two versions of a file; every byte of both is in it as it is.

    Args:
        path: The file relative to where the patch is to be applied.
        old: Its bytes before.
        new: Its bytes after.
    """
    lines = difflib.diff_bytes(difflib.unified_diff, _lines(old), _lines(new))
    body = list(lines)[2:]
    if not body:
        return b""
    head = [b"--- %b\n" % _name("a", path), b"+++ %b\n" % _name("b", path)]
    return b"".join(
        line if line.endswith(b"\n") else b"%b\n\\ No newline at end of file\n" % line for line in [*head, *body]
    )


def _lines(data: bytes) -> list[bytes]:
    lines = data.split(b"\n")
    return [*(b"%b\n" % line for line in lines[:-1]), *([lines[-1]] if lines[-1] else [])]


def _name(side: str, path: str) -> bytes:
    """Spell a name in a header: quoted as git does where it has to be, and ended by a tab where it has a space."""
    raw = os.fsencode(f"{side}/{path.replace(os.sep, '/')}")
    if any(byte < 32 or byte > 126 or byte in (34, 92) for byte in raw):
        return b'"%b"' % b"".join(_escaped(byte) for byte in raw)
    return raw + b"\t" if b" " in raw else raw


def _escaped(byte: int) -> bytes:
    if byte in _ESCAPES:
        return _ESCAPES[byte]
    return bytes([byte]) if 32 <= byte < 127 else b"\\%03o" % byte
