"""Comparing what was saved with what is loaded, bit by bit."""

from __future__ import annotations

import struct
from typing import Any

import torch
from torch import Tensor


def bits(tensor: Tensor) -> bytes:
    """Return the memory of a tensor, row by row."""
    plain = torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor.detach())
    return plain.reshape(-1).view(torch.uint8).numpy().tobytes()


def assert_same(found: Any, expected: Any) -> None:
    """Require the same types, keys, order and bits."""
    if isinstance(expected, Tensor):
        assert type(found) is Tensor
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        assert bits(found) == bits(expected)
        return
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert [(type(key), key) for key in found] == [(type(key), key) for key in expected]
        for key in expected:
            assert_same(found[key], expected[key])
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    elif isinstance(expected, float):
        assert struct.pack("d", found) == struct.pack("d", expected)
    else:
        assert found == expected
