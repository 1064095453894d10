"""Drops, by their bytes alone, the files that cannot mention an old name.

A reference to ``a.b.c`` has the word ``c`` in it, whatever its form: dotted, imported from its parent, relative,
through an alias, by star import, in a string. The other components stand in the file too, or are given by the folder
it lies in (relative imports). What passes is a superset of what has references.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from ahocorasick_rs import BytesAhoCorasick, MatchKind

from migrate.moves import Moves

# Functions that import a module by a name that may be computed. Such calls are looked at where the file mentions, or
# lies in, a top-level package of the list: the name may be put together from it. Elsewhere the name comes from another
# file, which is looked at itself.
IMPORTERS = ("import_module", "__import__", "find_spec", "resolve_name", "run_module", "importorskip")
_LITERAL = rb"""\s*[rRuU]?(?:'[^'\n]*'|"[^"\n]*")\s*[,)]|\s*\)"""
_COMPUTED = re.compile(rb"(?<!def )\b(?:%b)\s*\((?!%b)" % ("|".join(IMPORTERS).encode(), _LITERAL))
_MARKS = frozenset(name.encode() for name in IMPORTERS)
_RELATIVE = re.compile(rb"\bfrom[ \t\\\r\n]*\.")


@dataclass(frozen=True, slots=True)
class _Needle:
    """What must stand in a file that mentions one old name, besides its last component."""

    others: tuple[bytes, ...]
    spelled: re.Pattern[bytes] | None
    listed: re.Pattern[bytes] | None


class Prefilter:
    """Answers of a file's bytes whether it may mention an old name."""

    def __init__(self, moves: Moves) -> None:
        needles: dict[bytes, list[_Needle]] = {}
        self._everything = False
        # A module out of which names moved is looked at itself: passed on as an object, it brings them along unnamed.
        for old in dict.fromkeys([*moves.entries, *sorted(moves.losing - {""})]):
            *parents, last = (part.encode() for part in old.split("."))
            self._everything |= not old.isascii()
            needles.setdefault(last, []).append(_Needle(tuple(parents), *_spellings(parents, last)))
        self._roots = tuple(root.encode() for root in sorted(moves.roots))
        self._words = [*needles, *sorted(_MARKS - needles.keys())]
        self._needles = [needles.get(word, []) for word in self._words]
        self._search = BytesAhoCorasick(self._words, matchkind=MatchKind.LeftmostLongest).find_matches_as_indexes

    def may_mention(self, data: bytes, around: Collection[bytes], python: bool) -> bool:
        """Return False only where no old name can stand.

        Args:
            data: Bytes of the file.
            around: Names of the folders it lies in, and its own without suffix.
            python: Whether it is Python source, where a name stands in few ways.
        """
        if self._everything:
            return True
        found = {match[0] for match in self._search(data)}
        return any(self._passes(number, data, around, python) for number in found)

    def _passes(self, number: int, data: bytes, around: Collection[bytes], python: bool) -> bool:
        for needle in self._needles[number]:
            if all(word in data or word in around for word in needle.others) and (not python or _stands(needle, data)):
                return True
        if self._words[number] not in _MARKS or not any(root in data or root in around for root in self._roots):
            return False
        return _COMPUTED.search(data) is not None

    @staticmethod
    def has_relative(data: bytes) -> bool:
        """Return whether there is a relative import."""
        return _RELATIVE.search(data) is not None


def _spellings(parents: list[bytes], last: bytes) -> tuple[re.Pattern[bytes] | None, re.Pattern[bytes] | None]:
    """Return how Python spells a name: behind a dot or in quotes, or in the list of a ``from`` import."""
    word = re.escape(last)
    if not parents:
        return re.compile(rb"\b%b\b" % word), None
    spelled = re.compile(rb"(?:[.:/\\](?:\s|\\|#[^\n]*\n)*|['\"])%b\b" % word)
    listed = re.compile(rb"(?:\b%b|\.)[\s\\]*import\b" % re.escape(parents[-1]))
    return spelled, listed


def _stands(needle: _Needle, data: bytes) -> bool:
    if needle.spelled is None or needle.spelled.search(data):
        return True
    return needle.listed is not None and needle.listed.search(data) is not None
