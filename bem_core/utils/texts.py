"""Texts of JSON Lines files as tokens for language models."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, Dataset

from bem_core.config.base_config import ExperimentConfig
from bem_core.config.sections import existing_file
from bem_core.errors import DataError, nearest
from bem_core.utils.batching import collate
from bem_core.utils.json_lines import JsonLines

#: What a position that is not predicted has for a label.
IGNORED = -100
_SHOWN = 10


class Texts(Dataset[dict[str, Any]]):
    """The samples of a JSON Lines file, with the tokens of one of their texts.

    A sample has ``input_ids``, ``attention_mask`` and ``labels``, lists of equal length, and what else its line has
    under the names in ``fields``. With ``data.padding: max_length`` all lists are ``data.max_seq_length`` long; padding
    has the mask 0 and the label -100. Longer texts are cut, or an error with ``data.truncation: false``.

    Args:
        path: The file, a mapping a line.
        tokenizer: What `bem_core.models.load_tokenizer` returned.
        config: The experiment; ``data`` says the lengths.
        text: Name of the field with the text.
        fields: Further fields of a sample, which every line must have.

    Raises:
        DataError: The file cannot be read, or some lines have not the fields; names the first ten.
    """

    def __init__(
        self,
        path: Path | str,
        tokenizer: Any,
        config: ExperimentConfig,
        text: str = "text",
        fields: tuple[str, ...] = (),
    ) -> None:
        self._lines, self._tokenizer, self._data = JsonLines(path), tokenizer, config.data
        self._text, self._fields = text, fields
        self._check()

    def __len__(self) -> int:
        """Return the number of samples: ``data.max_samples`` at most."""
        return min(len(self._lines), self._data.max_samples or len(self._lines))

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return a sample.

        Raises:
            DataError: The text is too long; names the line.
        """
        text, kept = self._read(index)
        return self._tokens(text, index) | kept

    def _check(self) -> None:
        """Read every line, so that a run does not end at one of them after hours."""
        problems, count = [], 0
        for index in range(len(self)):
            try:
                self._read(index)
            except DataError as error:
                count += 1
                problems += [str(error)] if count <= _SHOWN else []
        if problems:
            raise DataError("\n".join([*problems, *([f"and {count - _SHOWN} more"] if count > _SHOWN else [])]))

    def _read(self, index: int) -> tuple[str, dict[str, Any]]:
        sample = self._lines[index]
        text = self._field(sample, self._text, index)
        if not isinstance(text, str):
            raise DataError(f"{self._lines.where(index)}: {self._text}: expected a text, found {text!r:.60}")
        return text, {name: self._field(sample, name, index) for name in self._fields}

    def _tokens(self, text: str, index: int) -> dict[str, list[int]]:
        ids = list(self._tokenizer.encode(text, add_special_tokens=self._data.add_special_tokens))
        limit = self._data.max_seq_length
        if len(ids) > limit and not self._data.truncation:
            raise DataError(f"{self._lines.where(index)}: {len(ids)} tokens are more than data.max_seq_length {limit}")
        ids = ids[:limit]
        padding = limit - len(ids) if self._data.padding == "max_length" else 0
        return {
            "input_ids": ids + [self._tokenizer.pad_token_id] * padding,
            "attention_mask": [1] * len(ids) + [0] * padding,
            "labels": ids + [IGNORED] * padding,
        }

    def _field(self, sample: Any, name: str, index: int) -> Any:
        if not isinstance(sample, Mapping):
            raise DataError(f"{self._lines.where(index)}: expected a mapping, found {sample!r:.60}")
        if name not in sample:
            hint = nearest(name, map(str, sample)) or f"; it has {', '.join(map(str, sample)) or 'none'}"
            raise DataError(f"{self._lines.where(index)}: expected a field {name!r}{hint}")
        return sample[name]


def text_loaders(
    config: ExperimentConfig, tokenizer: Any, text: str = "text", fields: tuple[str, ...] = ()
) -> tuple[DataLoader[Any], DataLoader[Any] | None]:
    """Return the loaders of ``data.train_file`` and ``data.validation_file``; None where there is no such file.

    Args:
        config: The experiment.
        tokenizer: What `bem_core.models.load_tokenizer` returned.
        text: Name of the field with the text.
        fields: Further fields of a sample.

    Raises:
        ConfigError: There is no such file.
        DataError: ``data.train_file`` is not given, or a file cannot be used.
    """
    train_file, validation_file = (existing_file(config, f"data.{name}_file") for name in ("train", "validation"))
    if train_file is None:
        raise DataError("data.train_file: expected a file with texts in JSON Lines, there is none")
    padding = {"input_ids": tokenizer.pad_token_id, "attention_mask": 0, "labels": IGNORED}
    join = functools.partial(collate, padding=padding)
    options: dict[str, Any] = {"num_workers": config.data.dataloader_num_workers, "collate_fn": join}
    size = config.training.batch_size
    train = DataLoader(Texts(train_file, tokenizer, config, text, fields), size, shuffle=True, **options)
    if validation_file is None:
        return train, None
    held_out = Texts(validation_file, tokenizer, config, text, fields)
    return train, DataLoader(held_out, config.evaluation.eval_batch_size or size, **options)
