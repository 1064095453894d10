"""What a variant minimises: the cross-entropy of the next token and the terms of its adapters.

Shapes: B batch, L tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from bem2.perftrack.adapter import Adapter
from bem2.perftrack.spectral import SpectralPenalty
from bem2.perftrack.wrapping import adapters
from bem_core.utils.texts import IGNORED

#: Name of the penalty on singular values among the terms of the loss.
SPECTRAL = "spectral"
_SPECTRAL_WEIGHT = 0.1


def targets_of(labels_BL: Tensor) -> Tensor:
    """Return what is to be predicted at each position: the label of the next one, and nothing at the last."""
    return functional.pad(labels_BL[:, 1:], (0, 1), value=IGNORED)


def next_token_loss(logits_BLV: Tensor, labels_BL: Tensor) -> Tensor:
    """Return the mean cross-entropy over all tokens that are to be predicted."""
    return functional.cross_entropy(logits_BLV.flatten(0, 1), targets_of(labels_BL).flatten(), ignore_index=IGNORED)


class Objective:
    """The loss of an adapted model and its parts.

    Args:
        model: Its adapters have the terms of their last forward pass.
        penalty: On the singular values of what is trained.
        weights: Of terms by name, in place of those of the adapters.
    """

    def __init__(self, model: nn.Module, penalty: SpectralPenalty, weights: Mapping[str, float]) -> None:
        self._model, self._adapters = model, adapters(model)
        self.penalty = penalty
        self.weights = known_weights(self._adapters) | dict(weights)

    def __call__(self, logits_BLV: Tensor, labels_BL: Tensor) -> dict[str, Tensor]:
        """Return ``loss`` and its parts before they are weighted, each the mean over the adapters."""
        cross_entropy = next_token_loss(logits_BLV, labels_BL)
        terms = [adapter.take_terms() for adapter in self._adapters]
        parts = {name: torch.stack([one[name] for one in terms]).mean() for name in terms[0]}
        if self.penalty.training != self._model.training:
            self.penalty.train(self._model.training)
        parts[SPECTRAL] = self.penalty()
        loss = cross_entropy
        for name, value in parts.items():
            loss = loss + self.weights[name] * value
        return {"loss": loss, "cross_entropy": cross_entropy, **parts}


def known_weights(found: Sequence[Adapter]) -> dict[str, float]:
    """Return the weights of all terms, as the adapters have them."""
    return {**found[0].loss_weights, SPECTRAL: _SPECTRAL_WEIGHT}
