"""Bytes to text and back, without losing one.

Python files say their encoding as PEP 263 has it; others are UTF-8. Line ends are not touched.
"""

from __future__ import annotations

import codecs
import re
from typing import NamedTuple

from bem_core.errors import BemError

_BOM = codecs.BOM_UTF8
_COOKIE = re.compile(rb"[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
_BLANK = re.compile(rb"[ \t\f]*(?:#.*)?$", re.DOTALL)
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class DecodeError(BemError):
    """The bytes of a file are not text in the encoding it declares; the message is the reason, on one line."""


class Decoded(NamedTuple):
    """A text and what `encode` needs to turn it, or an edited one, into bytes.

    Attributes:
        text: The text, without a byte order mark, with its line ends as they are.
        encoding: Name of the codec, the same for every spelling of it.
        bom: The byte order mark that the file starts with, or nothing.
    """

    text: str
    encoding: str
    bom: bytes


def decode(data: bytes, python: bool) -> Decoded:
    """Return the text of a file's bytes.

    Args:
        data: All bytes of the file.
        python: Whether an encoding may be declared in the first two lines.

    Raises:
        DecodeError: The bytes are not text in the declared encoding, or in UTF-8 when none is declared; the
            declaration is unknown or contradicts the byte order mark; or there are NUL bytes.
    """
    bom = _BOM if data.startswith(_BOM) else b""
    encoding = _declared(data, bom) if python else "utf-8"
    if b"\0" in data:
        what = "UTF-16 or UTF-32" if data.startswith(_UTF16) else "a binary file, or UTF-16"
        raise DecodeError(f"NUL byte on line {_line(data, data.index(0))}: {what}")
    body = data[len(bom) :]
    try:
        text = body.decode(encoding)
        # Several codecs forget something: escape sequences, a mark at the start. UTF-8 does not.
        faithful = encoding == "utf-8" or text.encode(encoding) == body
    except UnicodeDecodeError as error:
        raise DecodeError(_undecodable(data, encoding, len(bom) + error.start)) from None
    except (LookupError, ValueError) as error:
        raise DecodeError(f"cannot be read as {encoding!r}: {error}") from None
    if not faithful:
        raise DecodeError(f"not the same bytes after decoding and encoding as {encoding!r}")
    return Decoded(text, encoding, bom)


def encode(text: str, decoded: Decoded) -> bytes:
    """Return the bytes of ``text`` in the encoding of the file it comes from.

    Raises:
        DecodeError: The encoding has no such character.
    """
    try:
        return decoded.bom + text.encode(decoded.encoding)
    except UnicodeEncodeError as error:
        line = text.count("\n", 0, error.start) + 1
        raise DecodeError(f"{text[error.start]!r} on line {line} cannot be written in {decoded.encoding!r}") from None


def _declared(data: bytes, bom: bytes) -> str:
    """Return the codec that a Python file declares in its first two lines, as `tokenize.detect_encoding` names it."""
    head = data[: data.find(b"\n", data.find(b"\n") + 1) + 1 or None]
    if b"coding" not in head:
        return "utf-8"
    first, second = (*head[len(bom) :].splitlines(), b"", b"")[:2]  # the compiler ends a line at a lone CR, too
    found = _COOKIE.match(first) or (_COOKIE.match(second) if _BLANK.match(first) else None)
    if not found:
        return "utf-8"
    name = found[1].decode("ascii")
    try:
        encoding = _codec(name)
        if "coding".encode(encoding) != b"coding":
            raise LookupError
    except (LookupError, ValueError):
        raise DecodeError(f"declares the encoding {name!r}, which is unknown or not one for source text") from None
    if bom and encoding != "utf-8":
        raise DecodeError(f"has a UTF-8 byte order mark but declares the encoding {name!r}")
    return encoding


def _codec(name: str) -> str:
    """Return the name of the codec; the compiler knows two with anything after a dash, such as ``utf-8-unix``."""
    spelling = name[:12].lower().replace("_", "-")
    if re.match(r"utf-8(-|$)", spelling):
        return "utf-8"
    if re.match(r"(latin-1|iso-8859-1|iso-latin-1)(-|$)", spelling):
        return "iso8859-1"
    return codecs.lookup(name).name


def _undecodable(data: bytes, encoding: str, at: int) -> str:
    if data.startswith(_UTF16):
        return "starts with the byte order mark of UTF-16"
    where = f"byte 0x{data[at]:02x} on line {_line(data, at)}" if at < len(data) else "its end"
    return f"{where} is not {encoding.upper() if encoding == 'utf-8' else encoding}"


def _line(data: bytes, at: int) -> int:
    return data.count(b"\n", 0, at) + 1
