"""Directions in a language model that are kept for safety.

Each layer reads its residual stream along one orthonormal basis, mixes the coordinates, and writes the result back
along another one.

Shapes: B batch, L tokens, D hidden, R rank.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import orthogonal

from bem2.safety.settings import BasisSettings


class SafetyLayer(nn.Module):
    """The two bases of a layer.

    Both are products of R Householder reflections (`torch.nn.utils.parametrizations.orthogonal`), so they are
    orthonormal after each step of any optimizer, and no D x D matrix is ever made.

    Args:
        hidden_size: D.
        settings: The options.

    Attributes:
        U: Directions that are written along, ``(D, R)``.
        V: Directions that are read along, ``(D, R)``.
        bias: What is written in any case, ``(D,)``.
    """

    U: Tensor
    V: Tensor

    def __init__(self, hidden_size: int, settings: BasisSettings) -> None:
        super().__init__()
        for name in ("U", "V"):
            setattr(self, name, nn.Parameter(settings.init_std * torch.randn(hidden_size, settings.rank)))
        self.bias = nn.Parameter(torch.zeros(hidden_size))
        for name in ("U", "V"):
            orthogonal(self, name, "householder", use_trivialization=False)


class OrthogonalSafetyBasis(nn.Module):
    """Adds ``a * (U W V^T h + b)`` to the output ``h`` of each layer.

    The activation ``a`` is the product of what a gate says of the mean hidden state, the sigmoid of the score of the
    text, and the safety level.

    Args:
        hidden_size: D.
        num_layers: Layers of the language model.
        settings: The options.
    """

    def __init__(self, hidden_size: int, num_layers: int, settings: BasisSettings) -> None:
        super().__init__()
        self._settings = settings
        self.layers = nn.ModuleList(SafetyLayer(hidden_size, settings) for _ in range(num_layers))
        inner = max(1, hidden_size // 4)
        self.gate = nn.Sequential(nn.Linear(hidden_size, inner), nn.ReLU(), nn.Linear(inner, 1), nn.Sigmoid())
        self.mixers = nn.ModuleList(nn.Linear(settings.rank, settings.rank, bias=False) for _ in range(num_layers))
        for module in self.gate:
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for mixer in self.mixers:
            nn.init.normal_(mixer.weight, std=settings.init_std)  # type: ignore[arg-type]

    def forward(self, hidden_BLD: Tensor, number: int, score_B: Tensor, level: Tensor) -> Tensor:
        """Return the new output of a layer.

        Args:
            hidden_BLD: Its output.
            number: Which layer.
            score_B: How safe each text is, 0 to 1.
            level: How much safety is wanted, a scalar from 0 to 1.
        """
        layer = cast("SafetyLayer", self.layers[number])
        activation = self._activation(hidden_BLD, score_B, level)
        coordinates_BLR = hidden_BLD @ layer.V
        response_BLD: Tensor = self.mixers[number](coordinates_BLR) @ layer.U.T + layer.bias
        return hidden_BLD + activation * response_BLD

    def _activation(self, hidden_BLD: Tensor, score_B: Tensor, level: Tensor) -> Tensor:
        gate_B1: Tensor = self.gate(hidden_BLD.mean(1))
        score_B1 = torch.sigmoid(score_B / self._settings.temperature).unsqueeze(-1)
        wanted = level.clamp(self._settings.min_activation, self._settings.max_activation)
        return (gate_B1 * score_B1 * wanted).unsqueeze(1)

    def overlap(self) -> Tensor:
        """Return how far the layers write along the same directions: ``||B^T B - I||_F^2`` with ``B = [U_1 ... U_n]``.

        It is twice the sum of the squared cosines of the principal angles between each two layers (Björck and Golub
        1973, theorem 1, https://doi.org/10.1090/S0025-5718-1973-0348991-3): 0 where all are orthogonal.
        """
        joint = torch.cat([cast("SafetyLayer", layer).U for layer in self.layers], 1)
        gram = joint.T @ joint
        return (gram - torch.eye(gram.shape[0], dtype=gram.dtype, device=gram.device)).square().sum()

    def freeze(self, frozen: bool) -> None:
        """Let the bases and biases move or not; the gate and the mixers always do."""
        self.layers.requires_grad_(not frozen)

    @contextmanager
    def attached(self, layers: Iterable[nn.Module], score_B: Tensor, level: Tensor) -> Iterator[None]:
        """Change the outputs of the layers of a language model meanwhile.

        Args:
            layers: As many as this has; their output is the hidden state or a tuple that begins with it.
            score_B: How safe each text is.
            level: How much safety is wanted.
        """
        hooks = [
            layer.register_forward_hook(partial(self._change, number=number, score_B=score_B, level=level))
            for number, layer in enumerate(layers)
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _change(self, module: nn.Module, args: Any, output: Any, **where: Any) -> Any:
        if isinstance(output, tuple):
            return (self(output[0], **where), *output[1:])
        return self(output, **where)
