"""What a value means, in 16 bytes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from hashlib import blake2b
from typing import Any

_BYTES = 16


def fingerprint(data: Mapping[Any, Any], order: bool = False) -> bytes:
    """Return bytes that are the same for two values just when `bem_core.config.merge.typed_equal` holds for them.

    Args:
        data: What a YAML document holds, without bytes or sets.
        order: Whether the order of keys counts.
    """
    return blake2b(_spelled(data, order).encode("utf-8", "surrogatepass"), digest_size=_BYTES).digest()


def _spelled(value: Any, order: bool) -> str:
    kind = type(value)
    if kind is str:
        return repr(value)
    if isinstance(value, Mapping):
        parts = [f"{_spelled(key, order)}:{_spelled(item, order)}" for key, item in value.items()]
        return f"{{{','.join(parts if order else sorted(parts))}}}"
    if kind is list:
        return f"[{','.join([_spelled(item, order) for item in value])}]"
    if isinstance(value, datetime):  # zones of another name may have the same offset
        return f"{kind.__name__} {value.replace(tzinfo=None).isoformat()} {value.utcoffset()}"
    return f"{kind.__name__} {value!r}"
