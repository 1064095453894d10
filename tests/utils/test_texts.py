"""Texts as tokens: lengths, padding, what is kept, and lines that lack something."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from bem_core.config import ExperimentConfig, experiment_from_mapping
from bem_core.errors import ConfigError, DataError
from bem_core.models import ByteTokenizer
from bem_core.utils.texts import Texts, text_loaders

TOKENS = ByteTokenizer()


def file_of(folder: Path, *lines: Any) -> Path:
    path = folder / "texts.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return path


def experiment(**data: Any) -> ExperimentConfig:
    return experiment_from_mapping({"data": data, "training": {"batch_size": 2}})


CASES = {
    "fixed length": ({"max_seq_length": 5}, [256, 104, 105, 257, 258], 4),
    "cut": ({"max_seq_length": 3}, [256, 104, 105], 3),
    "bare": ({"padding": "longest", "add_special_tokens": False}, [104, 105], 2),
}


@pytest.mark.parametrize(("data", "ids", "length"), CASES.values(), ids=CASES)
def test_tokens(tmp_path: Path, data: dict[str, Any], ids: list[int], length: int) -> None:
    sample = Texts(file_of(tmp_path, {"text": "hi"}), TOKENS, experiment(**data))[0]
    assert sample["input_ids"] == ids
    assert sample["labels"] == ids[:length] + [-100] * (len(ids) - length)
    assert sample["attention_mask"] == [1] * length + [0] * (len(ids) - length)


def test_loaders_pad_batches_and_keep_fields(tmp_path: Path) -> None:
    path = file_of(tmp_path, {"text": "a", "score": 0.5}, {"text": "abc", "score": 1.0}, {"text": "abcd", "score": 2.0})
    config = experiment(train_file=str(path), validation_file=str(path), padding="longest", max_samples=2)
    train, held_out = text_loaders(config, TOKENS, fields=("score",))
    assert held_out is not None
    (batch,) = held_out
    assert batch["input_ids"].tolist() == [[256, 97, 257, 258, 258], [256, 97, 98, 99, 257]]
    assert batch["labels"].tolist()[0] == [256, 97, 257, -100, -100]
    assert batch["score"].tolist() == [0.5, 1.0]
    assert sum(len(one["score"]) for one in train) == 2


def test_no_validation_file_is_no_loader(tmp_path: Path) -> None:
    path = file_of(tmp_path, {"text": "a"})
    assert text_loaders(experiment(train_file=str(path)), TOKENS)[1] is None


@pytest.mark.parametrize("name", ["train", "validation"])
def test_a_file_that_is_not_there(name: str, tmp_path: Path) -> None:
    path = file_of(tmp_path, {"text": "a"})
    missing = str(tmp_path / "text.jsonl")
    config = experiment(**{"train_file": str(path), f"{name}_file": missing})
    expected = f"data.{name}_file: expected a file, found none at '{missing}'; did you mean '{path}'?"
    with pytest.raises(ConfigError, match=re.escape(expected)):
        text_loaders(config, TOKENS)


ERRORS = {
    "field": (
        [{"text": "a"}, {}, {"txt": "b"}],
        ["texts.jsonl:2: expected a field 'text'; it has none", "did you mean 'txt'"],
    ),
    "kind": ([{"text": 3}], ["texts.jsonl:1: text: expected a text, found 3"]),
    "mapping": ([{"text": "a"}, ["b"]], ["texts.jsonl:2: expected a mapping, found ['b']"]),
    "many": ([{}] * 12, ["and 2 more"]),
}


@pytest.mark.parametrize(("lines", "parts"), ERRORS.values(), ids=ERRORS)
def test_lines_are_checked_before_a_run(tmp_path: Path, lines: list[Any], parts: list[str]) -> None:
    with pytest.raises(DataError) as error:
        text_loaders(experiment(train_file=str(file_of(tmp_path, *lines))), TOKENS)
    assert all(part in str(error.value) for part in parts), error.value


def test_too_long_without_truncation(tmp_path: Path) -> None:
    texts = Texts(file_of(tmp_path, {"text": "abc"}), TOKENS, experiment(max_seq_length=4, truncation=False))
    with pytest.raises(DataError, match=r"texts\.jsonl:1: 5 tokens are more than data\.max_seq_length 4"):
        texts[0]


def test_no_file_at_all() -> None:
    with pytest.raises(DataError, match=r"data\.train_file"):
        text_loaders(experiment(), TOKENS)
