"""Questions as files."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image
from torch import Tensor

from bem2.multimodal.samples import Questions


def write_image(path: Path, image: Tensor) -> None:
    pixels = (image * 255).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(path)


def write_questions(path: Path, data: Questions) -> list[dict[str, object]]:
    """Write a file and its images; return the rows."""
    rows = []
    for one in data.questions:
        name, image = f"{path.stem}-{one.image}.png", data.images[one.image]
        assert isinstance(image, Tensor)
        write_image(path.parent / name, image)
        objects = [{"name": name, "box": list(box)} for name, box in zip(one.objects, one.boxes, strict=True)]
        rows.append({"image": name, "question": one.text, "answers": list(one.answers), "objects": objects})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return rows
