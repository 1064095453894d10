"""Texts and what is wrong with them: from JSON Lines, or made of a seed."""

from __future__ import annotations

import functools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch.utils.data import DataLoader, Dataset

from bem2.safety.violations import severities
from bem_core.config import ExperimentConfig, existing_file, read_section
from bem_core.config.schema import Positive
from bem_core.errors import DataError
from bem_core.models import load_tokenizer
from bem_core.utils.batching import collate
from bem_core.utils.texts import IGNORED, Texts

_WHO = ("the teacher", "my neighbour", "a doctor", "the clerk", "our guide", "the bank")
_SAFE = (
    "writes a letter",
    "reads the map",
    "paints the fence",
    "waters a rose",
    "counts the coins",
    "bakes some bread",
)
# Type, severity, text.
_UNSAFE = (
    ("violence", 4, "attacks the guard"),
    ("harassment", 2, "insults the waiter"),
    ("privacy_violation", 3, "leaks the password"),
    ("misinformation", 2, "spreads a hoax"),
    ("self_harm", 4, "swallows poison"),
)
_WHEN = ("today", "at noon", "with care", "in the park")


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """Section ``data.params``.

    Attributes:
        synthetic_samples: Texts that are made where there is no ``data.train_file``.
        validation_samples: The same for evaluation.
    """

    synthetic_samples: Positive = 512
    validation_samples: Positive = 128


class SafetyTexts(Texts):
    """Texts of a file with, under ``violations``, the severity of each type in `violations.TYPES`.

    A line has ``text``, and ``violations`` (types with severities, or a list of types) or ``violation`` (0 or 1).

    Raises:
        DataError: The file cannot be used; names the first ten lines that are wrong.
    """

    def _read(self, index: int) -> tuple[str, dict[str, Any]]:
        text, kept = super()._read(index)
        line, where = self._lines[index], self._lines.where(index)
        found = next((name for name in ("violations", "violation") if name in line), None)
        if found is None:
            raise DataError(
                f"{where}: expected a field 'violations', or 'violation' with 0 or 1; it has {', '.join(line)}"
            )
        return text, kept | {"violations": severities(line[found], str(where))}


class SyntheticTexts(Dataset[dict[str, Any]]):
    """Short sentences, half of which tell of something that violates a rule.

    Args:
        size: How many.
        seed: What they depend on.
        tokenizer: What `load_tokenizer` returned.
        config: The experiment; ``data`` says the length.
    """

    def __init__(self, size: int, seed: int, tokenizer: Any, config: ExperimentConfig) -> None:
        self._samples = [_sample(text, found, tokenizer, config) for text, found in sentences(size, seed)]

    def __len__(self) -> int:
        """Return the number of sentences."""
        return len(self._samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return a sentence as a sample of `SafetyTexts`."""
        return self._samples[index]


def sentences(size: int, seed: int) -> Iterator[tuple[str, dict[str, int]]]:
    """Yield texts, and the severity of what they violate by its type."""
    draw = random.Random(seed)
    for _ in range(size):
        found = {}
        what = draw.choice(_SAFE)
        if draw.random() < 0.5:
            kind, severity, what = draw.choice(_UNSAFE)
            found = {kind: severity}
        yield f"{draw.choice(_WHO)} {what} {draw.choice(_WHEN)}", found


def _sample(text: str, found: dict[str, int], tokenizer: Any, config: ExperimentConfig) -> dict[str, Any]:
    ids = list(tokenizer.encode(text, add_special_tokens=config.data.add_special_tokens))[: config.data.max_seq_length]
    violations = severities(found, "a synthetic text")
    return {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": ids, "violations": violations}


def safety_loaders(config: ExperimentConfig) -> tuple[DataLoader[Any], DataLoader[Any] | None]:
    """Return the loaders of training and evaluation.

    They are those of ``data.train_file`` and ``data.validation_file``. Without the former, both are made of
    ``training.seed``; without the latter alone, nothing is evaluated.

    Raises:
        DataError: A file cannot be used.
        ConfigError: There is no such file, or a key of ``data.params`` is wrong.
    """
    tokenizer, data, seed = load_tokenizer(config), config.data, config.training.seed
    size = config.training.batch_size
    join = functools.partial(
        collate, padding={"input_ids": tokenizer.pad_token_id, "attention_mask": 0, "labels": IGNORED}
    )
    settings = read_section(config, "data.params", DataSettings)
    train: Dataset[Any]
    held_out: Dataset[Any] | None
    train_file, validation_file = (existing_file(config, f"data.{name}_file") for name in ("train", "validation"))
    if train_file is None:
        train = SyntheticTexts(settings.synthetic_samples, seed, tokenizer, config)
        held_out = SyntheticTexts(settings.validation_samples, seed + 1, tokenizer, config)
    else:
        train = SafetyTexts(train_file, tokenizer, config)
        held_out = SafetyTexts(validation_file, tokenizer, config) if validation_file else None
    options: dict[str, Any] = {"num_workers": data.dataloader_num_workers, "collate_fn": join}
    first = DataLoader(train, size, shuffle=True, **options)
    if held_out is None:
        return first, None
    return first, DataLoader(held_out, config.evaluation.eval_batch_size or size, **options)


def check_batch(batch: Any, needed: Sequence[str] = ("input_ids", "attention_mask", "labels", "violations")) -> None:
    """See that a batch of somebody else's loader has what the losses need.

    Raises:
        DataError: It lacks something.
    """
    lacking = [name for name in needed if not isinstance(batch, dict) or name not in batch]
    if lacking:
        found = ", ".join(map(str, batch)) if isinstance(batch, dict) else type(batch).__name__
        raise DataError(f"a batch lacks {', '.join(lacking)}; it has {found}")
