"""Options of the programs that run the unified trainers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml


def options_of(pairs: Iterable[str]) -> dict[str, Any]:
    """Return ``name=value`` pairs, values read as YAML."""
    return {name: yaml.safe_load(value) for name, _, value in (pair.partition("=") for pair in pairs)}
