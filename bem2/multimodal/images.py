"""Image files as tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bem_core.errors import DataError
from bem_core.utils.extras import import_extra

# Of the images that CLIP was trained with, by channel, for values from 0 to 1.
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)


def read_image(path: Path) -> Tensor:
    """Read an image file of any kind that Pillow knows.

    Returns:
        Red, green and blue from 0 to 1, ``(3, height, width)``.

    Raises:
        DataError: It is not there, or no image.
        MissingExtraError: Pillow is not installed.
    """
    pillow: Any = import_extra("PIL.Image", "vision", "reading images")
    try:
        with pillow.open(path) as image:
            pixels = np.array(image.convert("RGB"))
    # What Pillow raises for damaged files depends on their format; SyntaxError is one of them.
    except (OSError, ValueError, SyntaxError, pillow.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DataError(f"{path}: no image that can be read: {reason}") from error
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255.0


def normalise(image: Tensor, size: int) -> Tensor:
    """Bring an image to a size, whatever its shape, and its channels to mean 0 and deviation 1.

    The whole image is kept, so that places in it, as shares of its width and height, stay what they are.

    Args:
        image: ``(3, height, width)``, from 0 to 1.
        size: S.

    Returns:
        ``(3, S, S)``.
    """
    if image.shape[-2:] != (size, size):
        image = functional.interpolate(image.unsqueeze(0), size=(size, size), mode="bilinear", antialias=True).squeeze(
            0
        )
    return (image - torch.tensor(_MEAN).view(3, 1, 1)) / torch.tensor(_STD).view(3, 1, 1)
