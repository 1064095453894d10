"""Questions about images: from JSON Lines files with the images beside them.

A line is ``{"image": "7.png", "question": "What color is it?", "answers": ["red"], "objects": [{"name": "circle",
"box": [0.1, 0.2, 0.4, 0.5]}]}``. ``objects`` may be left out, and so may their boxes, or there may be names only; a box
has left, top, right and bottom as shares of the image's width and height. ``answer`` stands for a single answer. Other
fields are left alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from torch import Tensor

from bem2.multimodal.images import read_image
from bem_core.errors import DataError, nearest
from bem_core.utils.json_lines import JsonLines

Box = tuple[float, float, float, float]
_FIELDS = ("image", "question", "answers", "answer", "objects")
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Question:
    """A question.

    Attributes:
        image: Number of its image.
        text: The question.
        answers: What people answered.
        objects: Names of what is in the image; none where that is not known.
        boxes: Where they are.
    """

    image: int
    text: str
    answers: tuple[str, ...]
    objects: tuple[str, ...] = ()
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True, slots=True)
class Questions:
    """A data set.

    Attributes:
        images: Each once: a file, or ``(3, height, width)`` from 0 to 1.
        questions: About them.
    """

    images: list[Path | Tensor]
    questions: list[Question]


def read_questions(path: Path, image_dir: Path | None = None, limit: int | None = None) -> Questions:
    """Read and check a file with questions, and open each image once.

    Args:
        path: The file.
        image_dir: Folder of the images; by default that of the file.
        limit: Lines that are read at most.

    Raises:
        DataError: Lines or images cannot be used; names the first ten, with their places.
        MissingExtraError: Pillow is not installed.
    """
    folder = image_dir or path.parent
    numbers: dict[Path, int] = {}
    questions, problems = [], list[str]()
    for line, row in islice(_numbered(path), limit):
        found = _problems(row)
        if not found:
            file = folder / row["image"]
            if file not in numbers:
                found = _image_problems(file)
                numbers[file] = len(numbers)
            questions.append(_question(row, numbers[file]))
        problems += [f"{path}:{line}: {problem}" for problem in found]
    if problems:
        more = [f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        raise DataError("\n".join(problems[:_SHOWN] + more))
    return Questions(list(numbers), questions)


def _numbered(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield the values with the numbers of their lines."""
    rows = JsonLines(path)
    with path.open("rb") as file:
        lines = (number for number, line in enumerate(file, 1) if line.strip())
        yield from zip(lines, rows, strict=False)


def _problems(row: Any) -> list[str]:
    if not isinstance(row, dict):
        return [f"expected an object with image, question and answers, found {type(row).__name__}"]
    problems = []
    for name in ("image", "question"):
        if not isinstance(row.get(name), str) or not row[name].strip():
            problems.append(_lacks(row, name, "a text"))
    answers = _answers(row)
    if not isinstance(answers, list) or not answers or not all(isinstance(one, str) and one for one in answers):
        problems.append(_lacks(row, "answers", "a list of texts"))
    objects = row.get("objects", [])
    if not isinstance(objects, list):
        return [*problems, _lacks(row, "objects", "a list of objects with name and box")]
    for number, one in enumerate(objects):
        problems += _object_problems(one, f"objects[{number}]")
    return problems


def _lacks(row: dict[str, Any], name: str, expected: str) -> str:
    if name in row:
        return f"{name}: expected {expected}, found {row[name]!r:.60}"
    others = [key for key in row if key not in _FIELDS]
    hint = nearest(name, others)
    return f"{name} is missing: expected {expected}{hint.replace('did you mean', 'is it called') if hint else ''}"


def _answers(row: dict[str, Any]) -> Any:
    if "answers" in row or "answer" not in row:
        return row.get("answers")
    return [row["answer"]]


def _object_problems(one: Any, where: str) -> list[str]:
    if isinstance(one, str):
        return []
    if not isinstance(one, dict) or not isinstance(one.get("name"), str):
        return [f"{where}: expected an object with name and box, found {one!r:.60}"]
    box = one.get("box")
    if box is None:
        return []
    expected = "expected left, top, right and bottom as shares of the image, from 0 to 1"
    numbers = isinstance(box, list) and len(box) == 4 and all(type(one) in (int, float) for one in box)
    if not numbers or not (0 <= box[0] < box[2] <= 1 and 0 <= box[1] < box[3] <= 1):
        return [f"{where}.box: {expected}, found {box!r:.60}"]
    return []


def _image_problems(file: Path) -> list[str]:
    try:
        read_image(file)
    except DataError as error:
        return [f"image: {error}"]
    return []


def _question(row: dict[str, Any], image: int) -> Question:
    objects = [{"name": one} if isinstance(one, str) else one for one in row.get("objects", [])]
    boxes = [map(float, one["box"]) for one in objects if one.get("box") is not None]
    return Question(
        image=image,
        text=row["question"],
        answers=tuple(_answers(row)),
        objects=tuple(one["name"] for one in objects),
        boxes=tuple((left, top, right, bottom) for left, top, right, bottom in boxes),
    )
