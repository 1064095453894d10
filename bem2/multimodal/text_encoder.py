"""Features of questions: of a language model, or fixed ones of their bytes. Neither is trained.

Shapes: B questions, L tokens, D width of the features.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from bem2.multimodal.settings import Settings
from bem_core.config import ExperimentConfig, invalid
from bem_core.config.base_config import DataConfig
from bem_core.errors import DataError
from bem_core.models import ByteTokenizer, load_base_model, load_tokenizer

_BYTES_DIM = 64


class ByteFeatures(nn.Module):
    """A fixed random vector for each byte, plus its place as sines and cosines.

    The places are those of Vaswani et al., https://arxiv.org/abs/1706.03762, section 3.5.

    Args:
        dim: D.
        max_length: Greatest L.
    """

    table: Tensor
    positions: Tensor

    def __init__(self, dim: int, max_length: int) -> None:
        super().__init__()
        self.dim = dim
        # From a generator of its own: the vectors are the same in each run, and nobody else's numbers change.
        table = torch.randn(ByteTokenizer.vocab_size, dim, generator=torch.Generator().manual_seed(0))
        self.register_buffer("table", table, persistent=False)
        self.register_buffer("positions", _sinusoids(max_length, dim), persistent=False)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return features ``(B, L, D)`` of token ids ``(B, L)``."""
        return self.table[input_ids] + self.positions[: input_ids.shape[1]]


class DecoderFeatures(nn.Module):
    """The last hidden states of a language model, which stays as it is.

    Args:
        model: As `bem_core.models.load_base_model` returns it.
        dim: Its width.
    """

    def __init__(self, model: nn.Module, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.model = model.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> DecoderFeatures:
        """Change the mode of nothing: dropout of a model that is not trained would only be noise."""
        return self

    @torch.no_grad()
    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return features ``(B, L, D)`` of token ids ``(B, L)`` and their mask."""
        outputs = self.model(input_ids, attention_mask=attention_mask, output_hidden_states=True)
        return outputs.hidden_states[-1].float()  # type: ignore[no-any-return]


class QuestionTokens:
    """Makes token ids of questions.

    Args:
        tokenizer: Has ``encode`` and ``pad_token_id``.
        data: Says how long they are, and whether longer ones are cut and shorter ones filled up.
    """

    def __init__(self, tokenizer: Any, data: DataConfig) -> None:
        self._encode, self.pad_token_id = tokenizer.encode, int(tokenizer.pad_token_id)
        self._data = data

    def __call__(self, text: str) -> tuple[Tensor, Tensor]:
        """Return ids and mask of a question, ``(L,)`` each.

        Raises:
            DataError: It is too long, and is not to be cut.
        """
        longest = self._data.max_seq_length
        ids = self._encode(text, add_special_tokens=self._data.add_special_tokens)
        if len(ids) > longest and not self._data.truncation:
            expected = f"at most {longest}, which is data.max_seq_length, or data.truncation: true"
            raise DataError(f"the question {text!r:.80} has {len(ids)} tokens: expected {expected}")
        ids = ids[:longest]
        filling = longest - len(ids) if self._data.padding == "max_length" else 0
        mask = [1] * len(ids) + [0] * filling
        return torch.tensor(ids + [self.pad_token_id] * filling), torch.tensor(mask)


def make_text_encoder(config: ExperimentConfig, settings: Settings) -> ByteFeatures | DecoderFeatures:
    """Return the encoder that the section ``text`` asks for.

    Raises:
        ConfigError: There is no such model, or its sizes do not fit.
    """
    asked, longest = settings.controller.dim, config.data.max_seq_length
    if settings.text.encoder == "bytes":
        return ByteFeatures(asked or _BYTES_DIM, longest)
    model = load_base_model(config)
    sizes: Any = model.config
    dim, context = int(sizes.hidden_size), _context(sizes)
    if asked is not None and asked != dim:
        raise invalid(config, "controller.dim", f"expected {dim}, the width of the base model, found {asked}")
    if context is not None and longest > context:
        expected = f"at most {context}, the context of the base model"
        raise invalid(config, "data.max_seq_length", f"expected {expected}, found {longest}")
    return DecoderFeatures(model, dim)


def make_tokens(config: ExperimentConfig, settings: Settings) -> QuestionTokens:
    """Return what makes token ids for the encoder of `make_text_encoder`."""
    tokenizer = ByteTokenizer() if settings.text.encoder == "bytes" else load_tokenizer(config)
    return QuestionTokens(tokenizer, config.data)


def _context(sizes: Any) -> int | None:
    found = getattr(sizes, "context_length", None) or getattr(sizes, "max_position_embeddings", None)
    return None if found is None else int(found)


def _sinusoids(length: int, dim: int) -> Tensor:
    places = torch.arange(length).float().unsqueeze(1)
    rates = torch.exp(torch.arange(0, dim, 2).float() * (-math.log(10000.0) / dim))
    table = torch.zeros(length, dim)
    table[:, 0::2] = torch.sin(places * rates)
    table[:, 1::2] = torch.cos(places * rates)[:, : dim // 2]
    return table
