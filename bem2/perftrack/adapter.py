"""What the adapters of all variants have in common.

Shapes: B batch, L tokens, P pooled positions (1 or L), I inputs and D outputs of the adapted module.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from bem_core.errors import BemError

Pooling = Literal["prefix", "sequence"]
C = TypeVar("C")


class MergeError(BemError):
    """An adapter whose effect depends on its input cannot become part of a weight."""


@dataclass(frozen=True, slots=True)
class Site:
    """The module that an adapter stands behind.

    Attributes:
        name: In the model.
        in_features: I.
        out_features: D.
        pooling: What the adapter's controller sees at a position: the mean over the positions up to it, or over all,
            which lets a causal model see what it is to predict.
        iterations: Power iterations of each training step.
    """

    name: str
    in_features: int
    out_features: int
    pooling: Pooling = "prefix"
    iterations: int = 1


class Adapter(nn.Module, ABC):
    """Adds something to the output of a module.

    Attributes:
        loss_weights: Weight of each term that the adapter adds to the loss, by name.
        terms: Those of the last forward pass, tensors of any shape, whose mean counts.
    """

    loss_weights: ClassVar[Mapping[str, float]] = {}

    def __init__(self) -> None:
        super().__init__()
        self.terms: dict[str, Tensor] = {}

    @classmethod
    @abstractmethod
    def problems(cls, config: Any, site: Site) -> dict[str, str]:
        """Return what does not fit the site, by the field of the configuration; nothing where all does."""

    @abstractmethod
    def delta(self, hidden_BLD: Tensor, input_BLI: Tensor) -> Tensor:
        """Return what is added, ``(B, L, D)``.

        Args:
            hidden_BLD: Output of the module.
            input_BLI: Its input.
        """

    def forward(self, hidden_BLD: Tensor, input_BLI: Tensor) -> Tensor:
        """Return the output of the module with what is added to it."""
        return hidden_BLD + self.delta(hidden_BLD, input_BLI)

    def merged(self, weight_DI: Tensor, bias_D: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return weight and bias of a module that does by itself what module and adapter do in evaluation mode.

        Raises:
            MergeError: What is added is no linear function of the input.
        """
        raise MergeError(f"{type(self).__name__} cannot be merged: what it adds depends on its input in another way")

    def take_terms(self) -> dict[str, Tensor]:
        """Return the terms of the last forward pass and forget them, with the graph that they hold."""
        found, self.terms = self.terms, {}
        return found


def pool(hidden_BLD: Tensor, kind: Pooling) -> Tensor:
    """Return the mean over all positions, ``(B, 1, D)``, or at each position over those up to it, ``(B, L, D)``."""
    if kind == "sequence":
        return hidden_BLD.mean(dim=1, keepdim=True)
    counts = torch.arange(1, hidden_BLD.shape[1] + 1, device=hidden_BLD.device, dtype=hidden_BLD.dtype)
    return hidden_BLD.cumsum(dim=1) / counts[:, None]


def after(map_DD: Tensor, weight_DI: Tensor, bias_D: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Return weight and bias of a linear layer with ``x + map x`` behind it."""
    bias = None if bias_D is None else bias_D + map_DD @ bias_D
    return weight_DI + map_DD @ weight_DI, bias


def mlp(
    in_features: int, width: int, activation: nn.Module, out_features: int | None = None, dropout: float | None = None
) -> nn.Sequential:
    """Return a linear layer with its norm and activation, then dropout and a second layer where they are asked for."""
    layers: list[nn.Module] = [nn.Linear(in_features, width), nn.LayerNorm(width), activation]
    if dropout is not None:
        layers.append(nn.Dropout(dropout))
    if out_features is not None:
        layers.append(nn.Linear(width, out_features))
    return nn.Sequential(*layers)


def entropy(probs: Tensor) -> Tensor:
    """Return the mean entropy of distributions in the last dimension, in nats."""
    return -(probs * torch.log(probs + 1e-8)).sum(dim=-1).mean()


def unit(vectors: Tensor) -> Tensor:
    """Return vectors with norm 1 in the last dimension."""
    return functional.normalize(vectors, dim=-1)
