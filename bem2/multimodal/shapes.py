"""Questions about images that are drawn: one coloured shape each, and its color or its shape is asked for.

So nothing but the image answers a question, and a part of the image does. They stand in where an experiment names no
file, and tests learn from them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bem2.multimodal.samples import Question, Questions

COLORS = {
    "red": (0.9, 0.1, 0.1),
    "green": (0.1, 0.8, 0.2),
    "blue": (0.15, 0.25, 0.95),
    "yellow": (0.95, 0.9, 0.1),
}
SHAPES = ("circle", "square", "triangle", "cross")
_ASKED = {"color": "What color is it?", "shape": "Which shape is it?"}
_Mask = npt.NDArray[np.bool_]


def draw_questions(count: int, seed: int, size: int = 32) -> Questions:
    """Draw images and ask a question about each.

    Args:
        count: How many.
        seed: The same seed gives the same questions.
        size: Width and height of an image, in pixels.
    """
    rng = np.random.default_rng(seed)
    made = [_draw(rng, number, size) for number in range(count)]
    return Questions([image for image, _ in made], [question for _, question in made])


def _draw(rng: np.random.Generator, number: int, size: int) -> tuple[Tensor, Question]:
    color, shape = str(rng.choice(list(COLORS))), str(rng.choice(SHAPES))
    radius = rng.uniform(0.15, 0.25)
    x, y = rng.uniform(radius, 1 - radius, size=2)
    pixels = 0.5 + rng.uniform(-0.05, 0.05, (size, size, 3))
    pixels[_inside(shape, x, y, radius, size)] = COLORS[color]
    asked = str(rng.choice(list(_ASKED)))
    question = Question(
        image=number,
        text=_ASKED[asked],
        answers=(color if asked == "color" else shape,),
        objects=(shape,),
        boxes=((x - radius, y - radius, x + radius, y + radius),),
    )
    return torch.from_numpy(pixels).permute(2, 0, 1).float(), question


def _inside(shape: str, x: float, y: float, radius: float, size: int) -> _Mask:
    """Return which pixels a shape covers; all numbers are shares of the image."""
    rows, columns = (np.mgrid[0:size, 0:size] + 0.5) / size
    across, down = np.abs(columns - x), np.abs(rows - y)
    if shape == "circle":
        found = across**2 + down**2 <= radius**2
    elif shape == "square":
        found = np.maximum(across, down) <= 0.85 * radius
    elif shape == "triangle":
        found = (rows - y + radius >= 2 * across) & (rows - y <= radius)
    else:
        found = (np.minimum(across, down) <= 0.3 * radius) & (np.maximum(across, down) <= radius)
    mask: _Mask = found
    return mask
