"""The records of a run: what each changed file was before, in append-only pack files.

A pack is a row of records, and each stands for itself::

    magic | header bytes | payload bytes | xxh3_64 of the header || header (JSON) || payload (the original)

A process that is killed while it appends leaves an incomplete last record; it is not used, and nothing depends on it,
because a file is touched only after its record is complete. A reader goes on at the next magic after a damaged record.
"""

from __future__ import annotations

import errno
import json
import mmap
import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import xxhash

_MAGIC = b"\x93BMJ\x01"
_FRAME = struct.Struct("<5sIQQ")


@dataclass(frozen=True, slots=True)
class Record:
    """One file of a run before and after its change.

    Attributes:
        path: Real path of the file, relative to the project root.
        temp: Name of the temporary file in the same folder, for the change as well as for its undoing.
        old: Digest of the original; None for a file that the run creates.
        new: Digest of what the run writes; None for a file that it deletes.
        mode: Permission bits of the original.
        uid: Owner of the original.
        gid: Group of the original.
        made: Folders that the run creates for the file, outermost first, relative to the project root.
        time_ns: When the record was made; orders the records of one file over several packs.
        dropped: The change was given up: the file was never touched.
    """

    path: str
    temp: str
    old: str | None
    new: str | None
    mode: int = 0
    uid: int = -1
    gid: int = -1
    made: tuple[str, ...] = ()
    time_ns: int = 0
    dropped: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """A record and the place of its payload."""

    record: Record
    pack: Path
    offset: int
    size: int

    def original(self) -> bytes | None:
        """Return the original's bytes; None for a file that was not there.

        Raises:
            OSError: The pack does not have the bytes as they were.
        """
        if self.record.old is None:
            return None
        with self.pack.open("rb") as file:
            file.seek(self.offset)
            data = file.read(self.size)
        if digest(data) != self.record.old:
            raise OSError(errno.EIO, f"its original in {self.pack} is damaged")
        return data


def digest(data: bytes) -> str:
    """Return the hash by which a file's content is recognised."""
    return xxhash.xxh3_128_hexdigest(data)


def frame(record: Record, payload: bytes) -> bytes:
    """Return a record as a pack holds it."""
    header = json.dumps(asdict(record)).encode("ascii")
    return b"".join((_FRAME.pack(_MAGIC, len(header), len(payload), _check(header)), header, payload))


def read_packs(folder: Path) -> list[Entry]:
    """Return the complete records of all packs in ``folder`` in the order they were made, without dropped ones."""
    entries = [entry for pack in sorted(folder.glob("*.pack")) for entry in _read(pack)]
    dropped = {(e.record.path, e.record.temp) for e in entries if e.record.dropped}
    kept = (e for e in entries if (e.record.path, e.record.temp) not in dropped)
    return sorted(kept, key=lambda e: e.record.time_ns)


def by_path(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    """Return the records of each file, oldest first."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry.record.path, []).append(entry)
    return groups


def _read(pack: Path) -> Iterator[Entry]:
    with pack.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            at = data.find(_MAGIC)
            while at >= 0:
                entry = _entry(pack, data, at)
                if entry:
                    yield entry
                at = data.find(_MAGIC, entry.offset + entry.size if entry else at + 1)


def _entry(pack: Path, data: mmap.mmap, at: int) -> Entry | None:
    """Return the record at ``at``, or None where there is no complete one."""
    start = at + _FRAME.size
    if start > len(data):
        return None
    _, header_size, payload_size, check = _FRAME.unpack(data[at:start])
    header = data[start : start + header_size]
    offset = start + header_size
    if offset + payload_size > len(data) or _check(header) != check:
        return None
    fields = json.loads(header)
    fields["made"] = tuple(fields["made"])
    return Entry(Record(**fields), pack, offset, payload_size)


def _check(header: bytes) -> int:
    return xxhash.xxh3_64_intdigest(header)
