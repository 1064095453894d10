"""Reads files back, old and new, with their bases, and says what differs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bem_core.config.lookup import Lookup
from bem_core.config.merge import DEFAULT, combine, dotted, merge, typed_equal
from bem_core.config.resolver import Resolver
from bem_core.config.yaml_reader import parse
from bem_core.errors import BemError
from migrate.configs.fingerprint import fingerprint
from migrate.configs.yaml12 import read12

Data = dict[Any, Any]


@dataclass(frozen=True, slots=True)
class Claim:
    """A file that must mean the same as before.

    Attributes:
        path: The file.
        before: Its text before.
        dropped: Whether its ``base_config`` meant nothing.
        has_bases: Whether its bases counted before, so that they are applied to the old text too.
    """

    path: str
    before: str
    dropped: bool = False
    has_bases: bool = False


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A file that would not mean the same.

    Attributes:
        path: The file.
        message: What differs, under which version of YAML.
        unreadable: Whether the original could not be read, so that there is nothing to compare.
    """

    path: str
    message: str
    unreadable: bool = False


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a file meant: fingerprints under YAML 1.1 and 1.2, or why it can't be read."""

    old: bytes = b""
    new: bytes = b""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Texts:
    """New texts, by path.

    Attributes:
        shared: Those of templates.
        own: Those of other files.
        number: Tells sets of new texts apart, of which one replaces the other.
    """

    shared: Mapping[str, str]
    own: Mapping[str, str]
    number: int = 0

    def only(self, paths: Iterable[str]) -> Texts:
        """Return what is needed to resolve some of the files."""
        return replace(self, own={path: self.own[path] for path in paths if path in self.own})


class Checker:
    """Reads each base once.

    Args:
        root: The repository.
        order: Whether the order of keys counts.
    """

    def __init__(self, root: Path, order: bool) -> None:
        self.root = root
        self.order = order
        self.disk = _Reader(root, {})
        self.new = self.disk
        self.number = -1

    def meanings(self, claims: Sequence[Claim]) -> list[Meaning]:
        """Return what files mean before the run."""
        return [self.meaning(claim) for claim in claims]

    def meaning(self, claim: Claim) -> Meaning:
        """Return what a file means before the run."""
        try:
            old, new = self.before(claim)
            return Meaning(fingerprint(old, self.order), fingerprint(new, self.order))
        except BemError as error:
            return Meaning(error=str(error))

    def before(self, claim: Claim) -> tuple[Data, Data]:
        """Return the data of a file before the run, under both versions of YAML."""
        if claim.has_bases:
            return self.disk.resolve11(claim.path), self.disk.resolve12(claim.path)
        found = parse(claim.before, claim.path).data, read12(claim.before, claim.path)
        if claim.dropped:
            for data in found:
                data.pop(DEFAULT.base, None)
        return found

    def mismatches(self, texts: Texts, pairs: Sequence[tuple[Claim, Meaning]]) -> list[Mismatch]:
        """Return the files that would mean something else."""
        if texts.number != self.number:
            self.new, self.number = _Reader(self.root, texts.shared), texts.number
        for path, text in texts.own.items():
            self.new.put(path, text)
        return [found for claim, meaning in pairs if (found := self.mismatch(claim, meaning))]

    def mismatch(self, claim: Claim, meaning: Meaning) -> Mismatch | None:
        """Say what is wrong with the new text of a file, if something is."""
        if meaning.error:
            return Mismatch(claim.path, f"cannot be read back: {meaning.error}", unreadable=True)
        reads = (("1.1", meaning.old, self.new.resolve11), ("1.2", meaning.new, self.new.resolve12))
        try:
            for number, (version, was, resolve) in enumerate(reads):
                now = resolve(claim.path)
                if fingerprint(now, self.order) != was:
                    change = difference(self.before(claim)[number], now) or "the order of keys"
                    return Mismatch(claim.path, f"YAML {version}: {change} would change")
        except BemError as error:
            return Mismatch(claim.path, str(error))
        return None


def difference(before: Any, after: Any, path: tuple[Any, ...] = ()) -> str:
    """Name the first place where two values differ."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*before, *(key for key in after if key not in before)]:
            if key not in before or key not in after:
                return f"{dotted((*path, key))} ({'missing' if key in before else 'new'})"
            if found := difference(before[key], after[key], (*path, key)):
                return found
        return ""
    return "" if typed_equal(before, after) else f"{dotted(path)} ({before!r:.60} to {after!r:.60})"


class _Reader:
    """Resolves files of one state of the tree, by the loader and by a second, smaller one for YAML 1.2."""

    def __init__(self, root: Path, texts: Mapping[str, str]) -> None:
        self.texts: dict[Path, str] = {}
        self.resolver = Resolver(root, ())
        self.lookup = Lookup(root, (), lambda path: path in self.texts or path.is_file())
        self.bases12: dict[Path, Data] = {}
        for path, text in texts.items():
            self.put(path, text)

    def put(self, path: str, text: str) -> None:
        self.texts[_real(path)] = text
        self.resolver.put(Path(path), text)

    def resolve11(self, path: str) -> Data:
        return self.resolver.resolve(Path(path)).data

    def resolve12(self, path: str) -> Data:
        return self._resolve12(_real(path), 0)

    def _resolve12(self, real: Path, depth: int) -> Data:
        if depth > 50:
            raise BemError(f"{real}: bases in a circle")
        text = self.texts[real] if real in self.texts else real.read_text("utf-8-sig")
        data = read12(text, str(real))
        names = data.get(DEFAULT.base) or []
        base: Data = {}
        for name in [names] if isinstance(names, str) else names:
            found = self.lookup.find(name, real.parent)
            if found is None:
                raise BemError(f"{real}: no file {name!r}")
            if found not in self.bases12:
                self.bases12[found] = self._resolve12(found, depth + 1)
            base = combine(base, self.bases12[found])
        return merge(base, data)


def _real(path: str) -> Path:
    return Path(os.path.realpath(os.path.dirname(os.path.abspath(path)))) / os.path.basename(path)
