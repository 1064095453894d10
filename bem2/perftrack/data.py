"""Texts of a file, or a synthetic language where an experiment names no file."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bem_core.config import ExperimentConfig, invalid
from bem_core.models import load_tokenizer
from bem_core.utils.batching import collate
from bem_core.utils.texts import text_loaders

_TRAIN, _HELD_OUT, _LENGTH = 512, 128, 32
_NOISE = 0.1


def markov_chain(count: int, length: int, vocab_size: int, seed: int, language: int = 0) -> Tensor:
    """Return sequences in which each token has one successor, in nine of ten cases; the tenth is any token.

    Args:
        count: Number of sequences.
        length: Tokens of each.
        vocab_size: Number of tokens.
        seed: Of the sequences.
        language: Of the table of successors; equal for training and evaluation.

    Returns:
        ``(count, length)``, int64.
    """
    follows = torch.randperm(vocab_size, generator=torch.Generator().manual_seed(language))
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(vocab_size, (count, length), generator=generator)
    noisy = torch.rand(count, length, generator=generator) < _NOISE
    for at in range(1, length):
        tokens[:, at] = torch.where(noisy[:, at], tokens[:, at], follows[tokens[:, at - 1]])
    return tokens


class TokenSequences(Dataset[dict[str, Tensor]]):
    """Sequences of equal length, as samples with ``input_ids`` and ``labels``.

    Args:
        tokens: ``(N, L)``, int64.
    """

    deterministic = True

    def __init__(self, tokens: Tensor) -> None:
        self.tokens = tokens

    def __len__(self) -> int:
        """Return the number of sequences."""
        return len(self.tokens)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return a sample."""
        return {"input_ids": self.tokens[index], "labels": self.tokens[index]}


def loaders_of(config: ExperimentConfig, vocab_size: int, limit: int | None) -> tuple[Any, Any]:
    """Return the loaders of training and evaluation.

    They read ``data.train_file`` and ``data.validation_file``. Where there is no ``train_file``, they have a synthetic
    language that is made from ``training.seed``: `markov_chain` of ``data.max_samples`` or 512 sequences, of 32 tokens
    or as many as ``data.max_seq_length`` and the model allow, and 128 for evaluation.

    Args:
        config: The experiment.
        vocab_size: Tokens that the model knows.
        limit: Tokens that it attends to; None for any number.

    Raises:
        ConfigError: Tokenizer or lengths do not fit the model.
        DataError: A file cannot be used.
    """
    if config.data.train_file is None:
        return _synthetic(config, vocab_size, limit)
    tokenizer = load_tokenizer(config)
    if tokenizer.vocab_size > vocab_size:
        message = f"expected at least {tokenizer.vocab_size}, the tokens of the tokenizer"
        raise invalid(config, "model.vocab_size", message)
    if limit is not None and config.data.max_seq_length > limit:
        message = f"expected at most {limit}, the context of the model, found {config.data.max_seq_length}"
        raise invalid(config, "data.max_seq_length", message)
    return text_loaders(config, tokenizer)


def _synthetic(config: ExperimentConfig, vocab_size: int, limit: int | None) -> tuple[Any, Any]:
    seed, length = config.training.seed, min(_LENGTH, config.data.max_seq_length, limit or _LENGTH)
    train = markov_chain(config.data.max_samples or _TRAIN, length, vocab_size, 2 * seed, seed)
    held_out = markov_chain(_HELD_OUT, length, vocab_size, 2 * seed + 1, seed)
    size = config.training.batch_size
    return (
        DataLoader(TokenSequences(train), size, shuffle=True, collate_fn=collate),
        DataLoader(TokenSequences(held_out), config.evaluation.eval_batch_size or size, collate_fn=collate),
    )
