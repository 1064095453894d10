"""What a configuration has that a person should look at, though it loads."""

from __future__ import annotations

from dataclasses import dataclass

from bem_core.errors import Location


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to look at.

    Attributes:
        location: Where it is written.
        code: ``dangling-base``, ``legacy-name`` or ``number-as-text``.
        key: Dotted key.
        message: What it is and what became of it.
    """

    location: Location
    code: str
    key: str
    message: str

    def __str__(self) -> str:
        """Return one line."""
        return f"{self.location}: {self.key}: {self.message} [{self.code}]"
