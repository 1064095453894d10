"""What a vision encoder finds in a batch of images.

Shapes: B images, N patches, R regions, D width of the features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor


@dataclass(frozen=True, slots=True)
class VisionFeatures:
    """Features of a batch of images.

    Attributes:
        cls: The class token, ``(B, D)``.
        pool: The mean of the patches, ``(B, D)``.
        patches: ``(B, N, D)``, row by row.
        regions: Horizontal strips from top to bottom, ``(B, R, D)``.
        coverage: How evenly the encoder attends to the patches, from 0 to 1, ``(B,)``.
        consistency: Mean cosine of the class token and the regions, ``(B,)``.
    """

    cls: Tensor
    pool: Tensor
    patches: Tensor
    regions: Tensor
    coverage: Tensor
    consistency: Tensor

    def to_dict(self) -> dict[str, Tensor]:
        """Return the fields by name."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    @classmethod
    def of(cls, batch: Mapping[str, Any]) -> VisionFeatures:
        """Take the fields out of a batch that has them under their names."""
        return cls(**{one.name: batch[one.name] for one in fields(cls)})
