"""What any lossless scheme can reach on a set of configurations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from migrate.configs.leaves import flatten, key


@dataclass(frozen=True, slots=True)
class Ceiling:
    """Shares of the leaves that could at most go away.

    Attributes:
        experiments_only: Leaves that another document has too, over all leaves: the rest must stay where it is.
        with_templates: The same, with each distinct shared leaf written once.
    """

    experiments_only: float
    with_templates: float


def ceiling(documents: Mapping[str, Mapping[Any, Any]]) -> Ceiling:
    """Return the bound for ``documents``.

    It counts neither references nor deletions, holds for several bases as for one, and lets identity be shared, so no
    plan reaches it.
    """
    holders = Counter(
        (path, key(value)) for document in documents.values() for path, value in flatten(document).items()
    )
    total = sum(holders.values())
    if not total:
        return Ceiling(0.0, 0.0)
    shared = [number for number in holders.values() if number > 1]
    return Ceiling(sum(shared) / total, (sum(shared) - len(shared)) / total)
