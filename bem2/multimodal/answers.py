"""The answers that a model can give, and what they say about objects.

Shapes: A answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from bem_core.evaluation.text_metrics import normalize_answer


class Answers:
    """A fixed list of answers, among which the model chooses, as is usual for such questions.

    Antol et al., VQA, https://arxiv.org/abs/1505.00468, section 4. Spellings that evaluation takes for the same are
    one answer.

    Args:
        texts: All answers of the training data.
        objects: Names of all objects of the training data.
    """

    def __init__(self, texts: Iterable[str], objects: Iterable[str] = ()) -> None:
        self.texts = sorted({_key(text) for text in texts})
        self._numbers = {text: number for number, text in enumerate(self.texts)}
        self._objects = sorted({name.lower() for name in objects})
        self._mentions = torch.tensor(
            [[float(_mentions(text, name)) for text in self.texts] for name in self._objects]
        ).reshape(len(self._objects), len(self.texts))
        self._targets: dict[Sequence[str], Tensor] = {}
        self._wrong: dict[Sequence[str], Tensor] = {}

    def __len__(self) -> int:
        """Return the number of answers."""
        return len(self.texts)

    def targets(self, answers: tuple[str, ...]) -> Tensor:
        """Return the distribution of what people answered over the list, ``(A,)``; what is not in it is left out."""
        if answers not in self._targets:
            known = [self._numbers[key] for key in map(_key, answers) if key in self._numbers]
            target = torch.zeros(len(self))
            for number in known:
                target[number] += 1.0 / len(known)
            self._targets[answers] = target
        return self._targets[answers]

    def wrong(self, objects: tuple[str, ...]) -> Tensor:
        """Return for each answer the share of the objects it names that are not there, ``(A,)``.

        Args:
            objects: Names of what is there; none for an image about which nothing is known, which excludes no answer.
        """
        if objects not in self._wrong:
            there = {name.lower() for name in objects}
            absent = torch.tensor([float(bool(there) and name not in there) for name in self._objects])
            self._wrong[objects] = absent @ self._mentions / self._mentions.sum(dim=0).clamp(min=1.0)
        return self._wrong[objects]


def _key(text: str) -> str:
    return normalize_answer(text) or text.lower()


def _mentions(text: str, name: str) -> bool:
    return re.search(rf"\b{re.escape(name)}\b", text) is not None
