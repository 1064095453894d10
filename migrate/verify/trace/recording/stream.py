"""The file of a trace: chained JSON Lines in a gzip stream, and the seal at its end (docs/trace_format.md)."""

from __future__ import annotations

import json
import os
import time
import zlib
from pathlib import Path
from typing import Any

import xxhash

FORMAT = 1
# What the first line is chained to.
CHAIN_START = "bem-migrate trace".ljust(32, ".")
_LEVEL = 1  # Digests hardly compress; more effort would only cost time.
_GZIP = 31
_MOST_WAITING = 64
_MOST_S = 0.25
_SEAL_HEAD = bytes.fromhex("1f8b08040000000000ff") + b"\x14\x00BM\x10\x00"
_SEAL_TAIL = bytes.fromhex("0300") + bytes(8)
SEAL_BYTES = len(_SEAL_HEAD) + 16 + len(_SEAL_TAIL)

Record = dict[str, Any]
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def chained(chain: str, body: bytes) -> str:
    """Return the chain value of a line: XXH3-128 over the value of the line before and its own text without chain."""
    return xxhash.xxh3_128_hexdigest(chain.encode() + body)


def seal_of(content: bytes) -> bytes:
    """Return the seal of a file: an empty gzip member whose extra field has the XXH3-128 of all bytes before it."""
    return _SEAL_HEAD + xxhash.xxh3_128_digest(content) + _SEAL_TAIL


class Writer:
    """Appends records to a file.

    Steps are put into text, compressed and written several at a time, at least every quarter of a second: between two
    steps of a training all code and memory has left the caches, and to fetch them takes longer than the work itself.

    Args:
        path: The file, which is made or appended to.
        chain: Chain value of the last line that is there.

    Attributes:
        root: XXH3-128 over the text of all steps.

    Raises:
        OSError: The file cannot be opened or written.
    """

    def __init__(self, path: Path, chain: str = CHAIN_START) -> None:
        self.path = path
        self.chain = chain
        self.num_records = 0
        self.root = xxhash.xxh3_128()
        self._waiting: list[Record] = []
        self._flushed_s = time.monotonic()
        self._file = path.open("ab", buffering=0)
        self._deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)

    def write(self, record: Record) -> None:
        """Append a record, whose first key is ``kind``; it must not be changed afterwards."""
        self._waiting.append(record)
        self.num_records += 1
        enough = len(self._waiting) >= _MOST_WAITING or time.monotonic() - self._flushed_s > _MOST_S
        if enough or record["kind"] != "step":
            self.flush()

    def flush(self) -> None:
        """Write what waits; it is on its way to the disk afterwards."""
        waiting, self._waiting = self._waiting, []
        parts = [self._deflate.compress(self._line(record)) for record in waiting]
        self._put(b"".join(parts) + self._deflate.flush(zlib.Z_SYNC_FLUSH))
        self._flushed_s = time.monotonic()

    def _line(self, record: Record) -> bytes:
        body = _encode(record).encode()
        self.chain = chained(self.chain, body)
        if record["kind"] == "step":
            self.root.update(body)
        return b'{"chain":"' + self.chain.encode() + b'",' + body[1:] + b"\n"

    def close(self) -> None:
        """Write what waits, and end the gzip member."""
        self.flush()
        self._put(self._deflate.flush())
        self._file.close()

    def abandon(self) -> None:
        """Close the file in a forked process without writing to it."""
        self._file.close()

    def _put(self, data: bytes) -> None:
        view = memoryview(data)
        while view:  # A full disk takes a part first, and says so at the next attempt.
            view = view[os.write(self._file.fileno(), view) :]


def seal(path: Path) -> None:
    """Append the seal: after it nothing is added, and a changed bit anywhere is noticed."""
    content = path.read_bytes()
    with path.open("ab") as file:
        file.write(seal_of(content))
