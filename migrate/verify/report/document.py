"""Verdicts as JSON; ``verdict.schema.json`` beside this file is its schema."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bem_core import __version__
from migrate.verify.verdict import Verdict, worst

VERSION = 1
SCHEMA = Path(__file__).with_name("verdict.schema.json")


def to_json(verdicts: Sequence[Verdict]) -> str:
    """Return all verdicts, and the outcome and exit code that they make together."""
    outcome = worst(one.outcome for one in verdicts)
    document = {
        "version": VERSION,
        "tool": __version__,
        "outcome": outcome.value,
        "exit_code": outcome.exit_code,
        "verdicts": [_verdict(one) for one in verdicts],
    }
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)


def _verdict(verdict: Verdict) -> dict[str, Any]:
    first = verdict.first
    data = {one.name: getattr(verdict, one.name) for one in dataclasses.fields(verdict)}
    data["first"] = first
    data["exit_code"] = verdict.outcome.exit_code
    found: dict[str, Any] = plain(data)
    return found


def plain(value: Any) -> Any:
    """Return a value as JSON has it; an infinite error, which JSON has not, becomes a text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: plain(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(below) for key, below in value.items()}
    if isinstance(value, list | tuple):
        return [plain(below) for below in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
