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

    def of(self, leaves: int, experiments: int, with_templates: int) -> Ceiling:
        """Return the same bound on files that share something through templates already.

        Args:
            leaves: Those of the documents.
            experiments: Those that are written in their files.
            with_templates: Those that are written in the files and in their templates.
        """
        least = (1 - self.experiments_only) * leaves, (1 - self.with_templates) * leaves
        written = experiments, with_templates
        return Ceiling(*(max(0.0, 1 - few / now) if now else 0.0 for few, now in zip(least, written, strict=True)))


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
