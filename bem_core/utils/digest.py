"""Fingerprints of tensors, and of batches made of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import xxhash
from torch import Tensor


def digest(value: Any) -> str:
    """Return the XXH3 fingerprint, 128 bits in hexadecimal, of a tensor or of anything made of tensors.

    Of a tensor it covers type, shape and content, not the device or the strides; of containers their keys and order; of
    anything else its ``repr``.
    """
    state = xxhash.xxh3_128()
    _update(state, value)
    return state.hexdigest()


def _update(state: Any, value: Any) -> None:
    if isinstance(value, Tensor):
        plain = value.detach().cpu().resolve_conj().resolve_neg().contiguous()
        state.update(f"{plain.dtype}{tuple(plain.shape)}".encode())
        state.update(plain.as_strided((plain.numel(),), (1,)).view(torch.uint8).numpy().data if plain.numel() else b"")
    elif isinstance(value, Mapping):
        for key, below in value.items():
            state.update(repr(key).encode())
            _update(state, below)
    elif isinstance(value, list | tuple):
        state.update(f"{len(value)} of ".encode())
        for below in value:
            _update(state, below)
    else:
        state.update(repr(value).encode())
