"""From questions and images to batches.

Shapes: B questions, L tokens, N patches, A answers, S pixels of a side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bem2.multimodal.answers import Answers
from bem2.multimodal.features import VisionFeatures
from bem2.multimodal.images import normalise, read_image
from bem2.multimodal.samples import Box, Question, Questions, read_questions
from bem2.multimodal.settings import Settings
from bem2.multimodal.shapes import draw_questions
from bem2.multimodal.text_encoder import QuestionTokens
from bem2.multimodal.vision_encoder import VisionEncoder
from bem_core.config import ExperimentConfig, existing_file
from bem_core.utils.data import collate


def training_questions(config: ExperimentConfig, settings: Settings) -> Questions:
    """Return what ``data.train_file`` has; drawn questions, made from the seed, where it names none.

    Raises:
        ConfigError: There is no such file.
        DataError: The file, a line or an image cannot be used.
    """
    file = existing_file(config, "data.train_file")
    if file is None:
        return draw_questions(settings.num_train, config.training.seed)
    return _read(config, settings, file)


def evaluation_questions(config: ExperimentConfig, settings: Settings) -> Questions | None:
    """Return what ``data.validation_file`` has; None where there is no such file but one for training."""
    file = existing_file(config, "data.validation_file")
    if file is not None:
        return _read(config, settings, file)
    return draw_questions(settings.num_eval, config.training.seed + 1) if config.data.train_file is None else None


def _read(config: ExperimentConfig, settings: Settings, file: Path) -> Questions:
    folder = settings.data.image_dir
    return read_questions(file, Path(folder) if folder else None, config.data.max_samples)


class Encoded:
    """Features of images, computed once.

    Args:
        images: Files or tensors.
        encoder: Does not change afterwards.
        batch_size: Images that are encoded together.
    """

    def __init__(self, images: Sequence[Path | Tensor], encoder: VisionEncoder, batch_size: int) -> None:
        device = next(encoder.parameters()).device
        parts = []
        with torch.no_grad():
            for start in range(0, len(images), batch_size):
                pixels = torch.stack([_pixels(one, encoder.image_size) for one in images[start : start + batch_size]])
                parts.append(encoder(pixels.to(device)).to_dict())
        names = [one.name for one in fields(VisionFeatures)]
        self._features = {name: torch.cat([part[name].cpu() for part in parts]) for name in names}

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        """Return the features of an image, by name."""
        return {name: values[number] for name, values in self._features.items()}


class Pixels:
    """Images for an encoder that is trained; files are read each time.

    Args:
        images: Files or tensors.
        size: S.
    """

    def __init__(self, images: Sequence[Path | Tensor], size: int) -> None:
        self._images, self._size = images, size

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        """Return ``pixels``, ``(3, S, S)``."""
        return {"pixels": _pixels(self._images[number], self._size)}


def _pixels(image: Path | Tensor, size: int) -> Tensor:
    return normalise(image if isinstance(image, Tensor) else read_image(image), size)


class QuestionDataset(Dataset[dict[str, Any]]):
    """Questions as a model takes them.

    A sample has what `Encoded` or `Pixels` gives, ``input_ids`` and ``attention_mask`` ``(L,)``, ``targets`` and
    ``wrong`` as `Answers` gives them, ``objects``, which is 1 for patches that an object touches, ``(N,)``, and the
    texts ``question`` and ``references``.

    Args:
        questions: The questions.
        images: Their images, by number.
        tokens: Makes token ids.
        answers: The answers to choose from.
        grid: Patches of a row.
    """

    #: Nothing here draws random numbers.
    deterministic = True

    def __init__(
        self,
        questions: Sequence[Question],
        images: Encoded | Pixels,
        tokens: QuestionTokens,
        answers: Answers,
        grid: int,
    ) -> None:
        self._questions, self._images, self._answers = questions, images, answers
        texts = {one.text: tokens(one.text) for one in questions}
        self._tokens = [texts[one.text] for one in questions]
        self._objects = [touched_patches(one.boxes, grid) for one in questions]

    def __len__(self) -> int:
        """Return the number of questions."""
        return len(self._questions)

    def __getitem__(self, number: int) -> dict[str, Any]:
        """Return a question."""
        one = self._questions[number]
        input_ids, attention_mask = self._tokens[number]
        return self._images[one.image] | {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "targets": self._answers.targets(one.answers),
            "wrong": self._answers.wrong(one.objects),
            "objects": self._objects[number],
            "question": one.text,
            "references": list(one.answers),
        }


def touched_patches(boxes: Sequence[Box], grid: int) -> Tensor:
    """Return 1 for each patch, row by row, that one of the boxes touches, else 0; ``(N,)``."""
    mask = torch.zeros(grid, grid)
    for left, top, right, bottom in boxes:
        rows = [row for row in range(grid) if top * grid < row + 1 and bottom * grid > row]
        columns = [column for column in range(grid) if left * grid < column + 1 and right * grid > column]
        mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = 1.0
    return mask.flatten()


def make_loader(dataset: QuestionDataset, config: ExperimentConfig, pad_id: int, training: bool) -> DataLoader[Any]:
    """Return a loader, which shuffles for training; shorter questions of a batch are filled up."""
    size = config.training.batch_size
    return DataLoader(
        dataset,
        batch_size=size if training else config.evaluation.eval_batch_size or size,
        shuffle=training,
        num_workers=config.data.dataloader_num_workers,
        collate_fn=partial(collate, padding={"input_ids": pad_id, "attention_mask": 0}),
    )
