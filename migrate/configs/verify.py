"""The proof: every file, read back from its new text with its bases, is what it was, under YAML 1.1 and 1.2.

1.1 is read by the loader itself and 1.2 by ruamel.yaml; nothing of the rewriter is used here.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError as YAMLError12

from bem_core.config.lookup import Lookup
from bem_core.config.merge import DEFAULT, combine, dotted, merge, typed_equal
from bem_core.config.resolver import Resolver
from bem_core.config.yaml_reader import parse
from bem_core.errors import BemError

_CHUNK = 40
_SERIAL = 60


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
class World:
    """The texts before and after.

    Attributes:
        root: The repository.
        old: Texts by path that differ from the files; usually none.
        new: Texts that the run is to write, by path.
        order: Whether the order of keys counts.
    """

    root: Path
    old: Mapping[str, str]
    new: Mapping[str, str]
    order: bool = False


def verify(world: World, claims: Sequence[Claim], jobs: int = 0) -> list[Mismatch]:
    """Check every claim; an empty list is the proof.

    Args:
        world: What is written where.
        claims: The files.
        jobs: Number of processes; 0 for one a core, and few files are checked without any.
    """
    jobs = jobs or len(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else [0] * 2)
    if jobs < 2 or len(claims) < _SERIAL:
        return _check_all(world, claims)
    chunks = [claims[start : start + _CHUNK] for start in range(0, len(claims), _CHUNK)]
    with ProcessPoolExecutor(jobs, get_context("fork"), _set_world, (world,)) as pool:
        return [mismatch for found in pool.map(_check_chunk, chunks) for mismatch in found]


_world: list[World] = []


def _set_world(world: World) -> None:
    _world[:] = [world]


def _check_chunk(claims: Sequence[Claim]) -> list[Mismatch]:
    return _check_all(_world[0], claims)


def _check_all(world: World, claims: Sequence[Claim]) -> list[Mismatch]:
    checker = _Checker(world)
    return [found for claim in claims if (found := checker.check(claim))]


class _Checker:
    """Reads each base once."""

    def __init__(self, world: World) -> None:
        self.order = world.order
        self.new = _Readers(world.root, world.new)
        self.old = _Readers(world.root, world.old)

    def check(self, claim: Claim) -> Mismatch | None:
        try:
            before = self.before(claim, self.old.resolve11, _read11)
            before12 = self.before(claim, self.old.resolve12, read12)
        except BemError as error:
            return Mismatch(claim.path, f"cannot be read back: {error}", unreadable=True)
        try:
            return self.compare(claim.path, before, self.new.resolve11, "1.1") or self.compare(
                claim.path, before12, self.new.resolve12, "1.2"
            )
        except BemError as error:
            return Mismatch(claim.path, str(error))

    def before(
        self, claim: Claim, resolve: Callable[[str], dict[Any, Any]], read: Callable[[str, str], dict[Any, Any]]
    ) -> dict[Any, Any]:
        if claim.has_bases:
            return resolve(claim.path)
        data = read(claim.before, claim.path)
        return {key: value for key, value in data.items() if not (claim.dropped and key == DEFAULT.base)}

    def compare(
        self, path: str, before: dict[Any, Any], resolve: Callable[[str], dict[Any, Any]], version: str
    ) -> Mismatch | None:
        after = resolve(path)
        if typed_equal(before, after, self.order):
            return None
        return Mismatch(path, f"YAML {version}: {difference(before, after) or 'the order of keys'} would change")


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


class _Readers:
    """Resolves files of one state of the tree, by the loader and by a second, smaller one for YAML 1.2."""

    def __init__(self, root: Path, texts: Mapping[str, str]) -> None:
        self.texts = {_real(path): text for path, text in texts.items()}
        paths = {Path(path): text for path, text in texts.items()}
        self.resolver = Resolver(root, (), texts=paths)
        self.lookup = Lookup(root, (), lambda path: path in self.texts or path.is_file())
        self.bases12: dict[Path, dict[Any, Any]] = {}

    def resolve11(self, path: str) -> dict[Any, Any]:
        return self.resolver.resolve(Path(path)).data

    def resolve12(self, path: str) -> dict[Any, Any]:
        return self._resolve12(_real(path), 0)

    def _resolve12(self, real: Path, depth: int) -> dict[Any, Any]:
        if depth > 50:
            raise BemError(f"{real}: bases in a circle")
        text = self.texts[real] if real in self.texts else real.read_text("utf-8-sig")
        data = read12(text, str(real))
        names = data.get(DEFAULT.base) or []
        base: dict[Any, Any] = {}
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


def _read11(text: str, path: str) -> dict[Any, Any]:
    return parse(text, path).data


def read12(text: str, path: str) -> dict[Any, Any]:
    """Read a mapping as YAML 1.2.

    Raises:
        BemError: It is none.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = YAML(typ="safe", pure=True).load(text)
    except (YAMLError12, ValueError, AttributeError, RecursionError) as error:
        raise BemError(f"{path}: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(data, dict):
        raise BemError(f"{path}: not a mapping")
    return dict(data)
