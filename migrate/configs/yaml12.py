"""Reads YAML 1.2 with ruamel.yaml, for the proof only: the rewriter never uses it."""

from __future__ import annotations

import warnings
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from bem_core.errors import BemError

# One reader after the other: each is a tangle of references that only a garbage collector takes apart.
_readers: list[YAML] = []


def read12(text: str, path: str) -> dict[Any, Any]:
    """Read a mapping as YAML 1.2.

    Raises:
        BemError: It is none.
    """
    reader = _readers.pop() if _readers else YAML(typ="safe", pure=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = reader.load(text)
    except (YAMLError, ValueError, AttributeError, RecursionError) as error:
        raise BemError(f"{path}: {' '.join(str(error).split())[:200]}") from error
    _readers.append(reader)  # one that has failed may be in the middle of a text, so it isn't used again
    if not isinstance(data, dict):
        raise BemError(f"{path}: not a mapping")
    return dict(data)
