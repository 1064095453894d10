"""Parts that the scorer and the detector are both made of."""

from __future__ import annotations

from torch import Tensor, nn


def encoder(size: int, num_heads: int, dropout: float) -> nn.TransformerEncoderLayer:
    """Return a bidirectional layer with a feed-forward part four times as wide."""
    return nn.TransformerEncoderLayer(
        size, num_heads, dim_feedforward=4 * size, dropout=dropout, activation="gelu", batch_first=True
    )


def head(size: int, inner: int, out: int) -> nn.Sequential:
    """Return two linear layers with a ReLU between them."""
    inner = max(1, inner)
    return nn.Sequential(nn.Linear(size, inner), nn.ReLU(), nn.Linear(inner, out))


def initialise(*modules: nn.Module) -> None:
    """Give linear layers Xavier weights and no bias."""
    for module in modules:
        for one in module.modules():
            if isinstance(one, nn.Linear):
                nn.init.xavier_uniform_(one.weight)
                nn.init.zeros_(one.bias)


def mean_over_tokens(states_BLH: Tensor, attention_mask: Tensor) -> Tensor:
    """Return the mean of the states that are not padding, ``(B, H)``."""
    mask = attention_mask.unsqueeze(-1).to(states_BLH.dtype)
    return (states_BLH * mask).sum(1) / mask.sum(1).clamp(min=1.0)
