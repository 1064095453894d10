"""A small decoder, so that everything runs with the core dependencies alone.

Shapes: B batch, L tokens, D hidden, H heads, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from bem_core.models.tokens import ByteTokenizer


@dataclass(frozen=True, kw_only=True)
class TinyConfig:
    """Sizes of a `TinyDecoder`.

    Attributes:
        hidden_size: Width of the residual stream, a multiple of `num_attention_heads`.
        intermediate_size: Width inside the feed-forward layers; by default four times `hidden_size`.
        context_length: Longest input, in tokens.
    """

    vocab_size: int = ByteTokenizer.vocab_size
    hidden_size: int = 64
    intermediate_size: int | None = None
    num_layers: int = 2
    num_attention_heads: int = 4
    context_length: int = 512


@dataclass(frozen=True, slots=True)
class CausalOutput:
    """What a causal language model returns.

    Attributes:
        logits: ``(B, L, V)``.
        loss: Mean cross-entropy of the next token, where labels were given.
        hidden_states: Embeddings and the output of each layer, ``(B, L, D)`` each, where asked for; the last one is
            after the final norm, as in `transformers`.
        attentions: Attention weights of each layer, ``(B, H, L, L)`` each, where asked for.
    """

    logits: Tensor
    loss: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class Attention(nn.Module):
    """Causal self-attention with several heads (Vaswani et al., Attention Is All You Need, section 3.2)."""

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.num_heads = config.num_attention_heads
        self.w_q, self.w_k, self.w_v, self.w_o = (nn.Linear(size, size, bias=False) for _ in range(4))

    def forward(self, x_BLD: Tensor, mask_BLL: Tensor, want_weights: bool) -> tuple[Tensor, Tensor | None]:
        """Return the mixed values ``(B, L, D)`` and, where asked for, the weights ``(B, H, L, L)``."""
        batch, length, size = x_BLD.shape
        split = (batch, length, self.num_heads, size // self.num_heads)
        q, k, v = (w(x_BLD).view(split).transpose(1, 2) for w in (self.w_q, self.w_k, self.w_v))
        mask = mask_BLL[:, None]
        weights = None
        if want_weights:
            scores = q @ k.transpose(-1, -2) / (size // self.num_heads) ** 0.5
            weights = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(-1)
            mixed = weights @ v
        else:
            mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.w_o(mixed.transpose(1, 2).reshape(batch, length, size)), weights


class FeedForward(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        inner = config.intermediate_size or 4 * config.hidden_size
        self.w_up = nn.Linear(config.hidden_size, inner, bias=False)
        self.w_down = nn.Linear(inner, config.hidden_size, bias=False)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """Return ``(B, L, D)``."""
        return self.w_down(functional.gelu(self.w_up(x_BLD)))  # type: ignore[no-any-return]


class Layer(nn.Module):
    """One layer, with the norms before its parts."""

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.hidden_size)
        self.attention = Attention(config)
        self.mlp_norm = nn.LayerNorm(config.hidden_size)
        self.mlp = FeedForward(config)

    def forward(self, x_BLD: Tensor, mask_BLL: Tensor, want_weights: bool) -> tuple[Tensor, Tensor | None]:
        """Return the new residual stream and, where asked for, the attention weights."""
        mixed, weights = self.attention(self.attention_norm(x_BLD), mask_BLL, want_weights)
        x_BLD = x_BLD + mixed
        return x_BLD + self.mlp(self.mlp_norm(x_BLD)), weights


class TinyDecoder(nn.Module):
    """A decoder with learned positions and an output layer of its own.

    Its modules have the names that adapters look for: ``layers.0.attention.w_o``, ``layers.0.mlp.w_down``.
    """

    def __init__(self, config: TinyConfig | None = None) -> None:
        super().__init__()
        self.config = config or TinyConfig()
        size = self.config.hidden_size
        if size % self.config.num_attention_heads:
            raise ValueError(f"hidden_size {size} is no multiple of num_attention_heads")
        self.embed = nn.Embedding(self.config.vocab_size, size)
        self.positions = nn.Embedding(self.config.context_length, size)
        self.layers = nn.ModuleList(Layer(self.config) for _ in range(self.config.num_layers))
        self.norm = nn.LayerNorm(size)
        self.head = nn.Linear(size, self.config.vocab_size, bias=False)
        self.apply(_initialise)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        *,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> CausalOutput:
        """Predict the next token at each place.

        Args:
            input_ids: ``(B, L)``, int64, L at most ``config.context_length``.
            attention_mask: ``(B, L)``, 0 where there is padding.
            labels: ``(B, L)``, the same ids, -100 where nothing is to be predicted; they are shifted here.
            output_hidden_states: Whether the residual streams are returned.
            output_attentions: Whether the attention weights are returned; the attention is slower then.

        Raises:
            ValueError: The input is longer than the context.
        """
        length = input_ids.shape[1]
        if length > self.config.context_length:
            raise ValueError(f"{length} tokens are more than context_length {self.config.context_length}")
        x_BLD = self.embed(input_ids) + self.positions.weight[:length]
        mask_BLL = _mask(input_ids, attention_mask)
        streams, attentions = [x_BLD], []
        for layer in self.layers:
            x_BLD, weights = layer(x_BLD, mask_BLL, output_attentions)
            streams.append(x_BLD)
            attentions.append(weights)
        streams[-1] = self.norm(x_BLD)
        logits_BLV = self.head(streams[-1])
        return CausalOutput(
            logits=logits_BLV,
            loss=None if labels is None else next_token_loss(logits_BLV, labels),
            hidden_states=tuple(streams) if output_hidden_states else None,
            attentions=tuple(attentions) if output_attentions else None,
        )


def next_token_loss(logits_BLV: Tensor, labels_BL: Tensor) -> Tensor:
    """Return the mean cross-entropy of each token under the prediction before it.

    Args:
        logits_BLV: ``(B, L, V)``.
        labels_BL: ``(B, L)``, int64; -100 is left out.
    """
    return functional.cross_entropy(logits_BLV[:, :-1].flatten(0, 1), labels_BL[:, 1:].flatten())


def _mask(input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
    """Return who may look at whom, ``(B, L, L)``; padding looks at itself, so that no row is empty."""
    batch, length = input_ids.shape
    causal = torch.ones(length, length, dtype=torch.bool, device=input_ids.device).tril()
    if attention_mask is None:
        return causal.expand(batch, length, length)
    own = torch.eye(length, dtype=torch.bool, device=input_ids.device)
    return causal & (attention_mask[:, None].bool() | own)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
