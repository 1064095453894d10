"""What a text can violate, how badly, and how samples say so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bem_core.errors import DataError, nearest

TYPES = (
    "harmful_content",
    "violence",
    "self_harm",
    "harassment",
    "hate_speech",
    "privacy_violation",
    "pii_exposure",
    "security_risk",
    "misinformation",
    "manipulation",
    "deception",
    "inappropriate_content",
    "explicit_content",
    "bias",
    "discrimination",
    "unfairness",
    "autonomy_violation",
    "transparency_violation",
    "helpfulness_violation",
)
#: From 1 on; 0 is no violation.
SEVERITIES = ("low", "moderate", "high", "critical")
_MODERATE = 2


def severities(found: Any, where: str) -> list[int]:
    """Return the severity of each type of violation, 0 to 4.

    Args:
        found: A mapping of types to severities (1 to 4, or their names), or a list of types, which are moderate; true
            or 1 is harmful content, and false, 0, null and what is empty is no violation.
        where: Place of the sample, for errors.

    Raises:
        DataError: It is something else, or a name is unknown.
    """
    if found is None or found in (0, 1):
        found = ["harmful_content"] if found else []
    if isinstance(found, str) or not isinstance(found, list | Mapping):
        raise DataError(
            f"{where}: violations: expected types with their severity, a list of types, or 0 or 1, {_shown(found)}"
        )
    pairs = found.items() if isinstance(found, Mapping) else ((name, _MODERATE) for name in found)
    levels = [0] * len(TYPES)
    for name, severity in pairs:
        if name not in TYPES:
            hint = nearest(str(name), TYPES) or f"; there are {', '.join(TYPES)}"
            raise DataError(f"{where}: violations: unknown type {name!r}{hint}")
        levels[TYPES.index(name)] = _level(severity, f"{where}: violations.{name}")
    return levels


def _level(severity: Any, where: str) -> int:
    if severity in SEVERITIES:
        return SEVERITIES.index(severity) + 1
    if type(severity) is int and 1 <= severity <= len(SEVERITIES):
        return severity
    raise DataError(f"{where}: expected a severity from 1 to 4 or one of {', '.join(SEVERITIES)}, {_shown(severity)}")


def _shown(value: Any) -> str:
    return f"found {value!r:.60}"
