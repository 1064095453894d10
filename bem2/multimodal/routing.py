"""A code for a text at three levels, each of which refines the one above: prefix, chunk, token.

Shapes: B texts, L tokens, D width of the features, C length of a code, S width of the side signals.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from bem2.multimodal.settings import ControllerSettings
from bem2.multimodal.vision_encoder import num_heads


class Codes(NamedTuple):
    """What the levels found.

    Attributes:
        code: The code of the chunk, or of each token with a token level; ``(B, C)`` or ``(B, L, C)``.
        uncertainty: What the code was scaled by, ``(B, 1)``; None where that is off.
    """

    code: Tensor
    uncertainty: Tensor | None


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of ``(B, L, D)`` over the tokens of a mask ``(B, L)``; zeros where there is none."""
    weights = mask.unsqueeze(-1).to(x.dtype)
    return (x * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1.0)


def perceptron(inputs: int, hidden: int, outputs: int, dropout: float) -> nn.Sequential:
    """Return a network with one hidden layer."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, outputs))


def initialise(*parts: nn.Module) -> None:
    """Draw the weights of all linear layers anew (Glorot and Bengio 2010, uniform), and let biases be zero."""
    for part in parts:
        for module in part.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


class PrefixRouter(nn.Module):
    """Pools the prefix with one learned query and maps it to a code."""

    def __init__(self, dim: int, settings: ControllerSettings) -> None:
        super().__init__()
        self._length = settings.max_prefix_tokens
        self.prefix_attention = nn.MultiheadAttention(dim, num_heads(dim), dropout=settings.dropout, batch_first=True)
        self.global_query = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.prefix_net = perceptron(dim, settings.hidden_dim or dim, settings.code_dim, settings.dropout)
        initialise(self.prefix_net)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Return codes ``(B, C)`` of features ``(B, L, D)`` and their mask ``(B, L)``."""
        prefix, padding = hidden[:, : self._length], mask[:, : self._length] == 0
        query = self.global_query.expand(len(hidden), -1, -1)
        pooled, _ = self.prefix_attention(query, prefix, prefix, key_padding_mask=padding, need_weights=False)
        return self.prefix_net(pooled.squeeze(1))  # type: ignore[no-any-return]


@torch.no_grad()
def move_mean(mean: Tensor, started: Tensor, value: Tensor, decay: float) -> None:
    """Move a running mean towards a value, without a graph and without waiting for the device.

    Args:
        mean: The mean, changed in place.
        started: Whether it has a value yet; the first one becomes the mean. Changed in place.
        value: Of the shape of the mean.
        decay: What counts of the mean.
    """
    mean.copy_(torch.where(started, decay * mean + (1 - decay) * value, value))
    started.fill_(True)


class ChunkRouter(nn.Module):
    """Maps the mean of a chunk, the summary of the prefix and side signals to a code.

    Side signals are added to what the network gets, so that its hidden layer relates them to the text.

    Attributes:
        ema_chunk_code: Running mean of the codes, ``(1, C)``; nothing is computed with it.
    """

    ema_chunk_code: Tensor
    ema_initialized: Tensor

    def __init__(self, dim: int, side_dim: int, settings: ControllerSettings) -> None:
        super().__init__()
        self._size, self._decay = settings.chunk_size, settings.ema_decay
        self.chunk_net = perceptron(2 * dim, settings.hidden_dim or dim, settings.code_dim, settings.dropout)
        self.side_projection = nn.Linear(side_dim, 2 * dim)
        self.register_buffer("ema_chunk_code", torch.zeros(1, settings.code_dim))
        self.register_buffer("ema_initialized", torch.tensor(False))
        initialise(self.chunk_net, self.side_projection)

    def forward(self, hidden: Tensor, mask: Tensor, summary: Tensor, side: Tensor | None, start: int) -> Tensor:
        """Return codes ``(B, C)`` of the chunk that begins at token ``start``.

        Args:
            hidden: Features, ``(B, L, D)``.
            mask: ``(B, L)``.
            summary: Of the prefix, ``(B, D)``.
            side: Side signals, ``(B, S)``; None for none.
            start: Token.
        """
        end = start + self._size
        features = torch.cat([masked_mean(hidden[:, start:end], mask[:, start:end]), summary], dim=-1)
        if side is not None:
            features = features + self.side_projection(side)
        code: Tensor = self.chunk_net(features)
        if self.training:
            mean = code.detach().mean(dim=0, keepdim=True)
            move_mean(self.ema_chunk_code, self.ema_initialized, mean, self._decay)
        return code


class TokenRouter(nn.Module):
    """Maps each token and the summary of the prefix to a code."""

    def __init__(self, dim: int, settings: ControllerSettings) -> None:
        super().__init__()
        self.token_net = perceptron(2 * dim, settings.hidden_dim or dim, settings.code_dim, settings.dropout)
        initialise(self.token_net)

    def forward(self, hidden: Tensor, summary: Tensor) -> Tensor:
        """Return codes ``(B, L, C)`` of features ``(B, L, D)`` and summaries ``(B, D)``."""
        summaries = summary.unsqueeze(1).expand(-1, hidden.shape[1], -1)
        return self.token_net(torch.cat([hidden, summaries], dim=-1))  # type: ignore[no-any-return]


class UncertaintyHead(nn.Module):
    """How certain the controller is of a text, from 0 to 1, with a learned temperature."""

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.uncertainty_net = perceptron(dim, dim // 2, 1, dropout)
        self.log_temperature = nn.Parameter(torch.log(torch.tensor(1.0)))
        initialise(self.uncertainty_net)

    def forward(self, summary: Tensor) -> Tensor:
        """Return ``(B, 1)`` for summaries ``(B, D)``."""
        return torch.sigmoid(self.uncertainty_net(summary) / torch.exp(self.log_temperature))


class Router(nn.Module):
    """The levels together: their codes are added, normalised, bounded and scaled by how certain they are.

    Args:
        dim: D.
        side_dim: S.
        settings: Sizes and switches.
    """

    def __init__(self, dim: int, side_dim: int, settings: ControllerSettings) -> None:
        super().__init__()
        self._prefix_length, self._bound = settings.max_prefix_tokens, settings.code_clamp_value
        self.prefix_router = PrefixRouter(dim, settings)
        self.chunk_router = ChunkRouter(dim, side_dim, settings)
        self.code_norm = nn.LayerNorm(settings.code_dim)
        self.token_router = TokenRouter(dim, settings) if settings.token_level else None
        self.uncertainty_head = UncertaintyHead(dim, settings.dropout) if settings.uncertainty else None

    def summarise(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Return the mean over the prefix, ``(B, D)``."""
        return masked_mean(hidden[:, : self._prefix_length], mask[:, : self._prefix_length])

    def route(self, hidden: Tensor, mask: Tensor, summary: Tensor, side: Tensor | None, start: int) -> Codes:
        """Return the codes of the chunk that begins at token ``start``; arguments as for `ChunkRouter`."""
        code = self.prefix_router(hidden, mask) + self.chunk_router(hidden, mask, summary, side, start)
        if self.token_router is not None:
            code = code.unsqueeze(1) + self.token_router(hidden, summary)
        code = bounded(self.code_norm(code), self._bound)
        if self.uncertainty_head is None:
            return Codes(code, None)
        uncertainty = self.uncertainty_head(summary)
        return Codes(code * (uncertainty.unsqueeze(1) if code.dim() == 3 else uncertainty), uncertainty)


def bounded(codes: Tensor, bound: float) -> Tensor:
    """Shrink codes ``(..., C)`` whose norm is greater than a bound to that norm."""
    norm: Tensor = codes.norm(dim=-1, keepdim=True).clamp(min=1e-8)
    return codes * (bound / norm).clamp(max=1.0)
