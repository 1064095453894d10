"""What any lossless scheme can reach on a set of configurations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from migrate.configs.leaves import Path, flatten, key


@dataclass(frozen=True, slots=True)
class Ceiling:
    """Shares of the leaves that could at most go away.

    Attributes:
        experiments_only: Of those that are written in the experiments.
        with_templates: Of those in experiments and templates.
    """

    experiments_only: float
    with_templates: float


@dataclass(frozen=True, slots=True)
class Least:
    """Leaves that any lossless scheme has to write.

    Attributes:
        own: Those that nothing else has, so that they stay in their files.
        shared: Distinct ones that several documents have, each of which is written once.
    """

    own: int
    shared: int


def least(documents: Mapping[str, Mapping[Any, Any]], given: Iterable[Mapping[Any, Any]] = ()) -> Least:
    """Return a bound for ``documents``.

    It counts neither references nor deletions, holds for several bases as for one, and lets identity be shared, so no
    plan reaches it.

    Args:
        documents: The documents.
        given: What templates stand for that are there already and stay.
    """
    holders = Counter(leaf for document in documents.values() for leaf in _leaves(document))
    there = {leaf for content in given for leaf in _leaves(content)}
    left = [number for leaf, number in holders.items() if leaf not in there]
    own = left.count(1)
    return Least(own, len(left) - own)


def ceiling(documents: Mapping[str, Mapping[Any, Any]]) -> Ceiling:
    """Return what could at most go away from documents that share nothing yet."""
    total = sum(1 for document in documents.values() for _ in _leaves(document))
    return ceiling_of(least(documents), total, total)


def ceiling_of(found: Least, experiments: int, with_templates: int, staying: int = 0) -> Ceiling:
    """Return a bound as shares of what is written.

    Args:
        found: What has to be written.
        experiments: Leaves in the experiments.
        with_templates: Leaves in experiments and templates.
        staying: Leaves in templates that stay in any case.
    """
    both = found.own + found.shared + staying
    return Ceiling(_gone(experiments, found.own), _gone(with_templates, both))


def _gone(written: int, rest: int) -> float:
    return max(0.0, 1 - rest / written) if written else 0.0


def _leaves(document: Mapping[Any, Any]) -> Iterator[tuple[Path, Hashable]]:
    return ((path, key(value)) for path, value in flatten(document).items())
