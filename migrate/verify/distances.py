"""How far two tensors are apart, in terms that do not depend on their size: never one absolute bound for all."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_BITS = {
    torch.float16: torch.int16,
    torch.bfloat16: torch.int16,
    torch.float32: torch.int32,
    torch.float64: torch.int64,
}


@dataclass(frozen=True, slots=True)
class Distance:
    """What two tensors differ by.

    Attributes:
        relative: ``||a - b|| / ||a||`` (Frobenius) in float64; infinite where the reference is zero or positions of
            nan or infinity differ.
        max_ulp: Most representable numbers between two elements; None for types that are not floating point.
        num_different: Elements whose bits differ.
        note: What numbers cannot say, such as other shapes.
        first_index: Of the first element, in the order of memory, whose bits differ.
    """

    relative: float
    max_ulp: float | None = None
    num_different: int = 0
    note: str = ""
    first_index: tuple[int, ...] | None = None

    def __str__(self) -> str:
        """Return it in words."""
        if self.note:
            return self.note
        ulp = "" if self.max_ulp is None else f", at most {self.max_ulp:.3g} ULP"
        first = f"; the first at {list(self.first_index)}" if self.first_index else ""
        return f"{self.num_different} elements differ, relative error {self.relative:.3g}{ulp}{first}"


def distance(reference: Tensor, candidate: Tensor) -> Distance:
    """Return how far ``candidate`` is from ``reference``; both may be on any device.

    Memory: copies of both on the CPU, in float64.
    """
    if reference.shape != candidate.shape or reference.dtype != candidate.dtype:
        return Distance(math.inf, note=f"{describe(reference)} and {describe(candidate)}")
    one, other = (value.detach().cpu().contiguous() for value in (reference, candidate))
    where = _different(one, other)
    different = int(where.sum())
    if not different:
        return Distance(0.0, 0.0 if one.is_floating_point() else None)
    place = int(where.nonzero()[0])
    first_index = tuple(int(axis) for axis in torch.unravel_index(torch.tensor(place), one.shape))
    if one.is_complex():
        one, other = torch.view_as_real(one), torch.view_as_real(other)
    first, second = one.double(), other.double()
    if not torch.equal(first.isfinite(), second.isfinite()):
        note = "values that are not finite are in other places"
        return Distance(math.inf, None, different, note, first_index)
    finite = first.isfinite()
    relative, ulp = _relative(first[finite], second[finite]), _max_ulp(one[finite], other[finite])
    return Distance(relative, ulp, different, first_index=first_index)


def describe(tensor: Tensor) -> str:
    """Return type and shape, such as ``float32[3, 4]``."""
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"


def _different(one: Tensor, other: Tensor) -> Tensor:
    """Return which elements differ in their bits, flat."""
    width = max(1, one.element_size())
    pair = [value.reshape(-1).view(torch.uint8).reshape(-1, width) for value in (one, other)]
    return (pair[0] != pair[1]).any(dim=1)


def _relative(first: Tensor, second: Tensor) -> float:
    norm, apart = first.norm().item(), (first - second).norm().item()
    if apart == 0:
        return 0.0
    return apart / norm if norm else math.inf


def _max_ulp(one: Tensor, other: Tensor) -> float | None:
    bits = _BITS.get(one.dtype)
    if bits is None or not one.numel():
        return None
    low = torch.iinfo(bits).min
    # Sign and magnitude to one line of integers; in float64, since a difference of int64 may not fit into one.
    whole = [value.view(bits).to(torch.int64) for value in (one, other)]
    if bits is torch.int64 and bool(((whole[0] < 0) != (whole[1] < 0)).any()):
        line = [torch.where(value >= 0, value, low - value).double() for value in whole]
    else:
        line = [torch.where(value >= 0, value, low - value) for value in whole]
    return float((line[0] - line[1]).abs().max())
