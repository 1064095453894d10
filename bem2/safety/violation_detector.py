"""Which rules a text breaks, and how badly.

A screener looks at the hidden states that the language model has anyway; an encoder of its own reads the token ids.

Shapes: B batch, L tokens, D hidden, K types of violation.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from bem2.safety.encoder import encoder, head, initialise, mean_over_tokens
from bem2.safety.settings import DetectorSettings
from bem2.safety.violations import SEVERITIES, TYPES


class Detection(NamedTuple):
    """What was found, as logits.

    Attributes:
        screening: Of each type, from the hidden states, ``(B, K)``.
        types: Of each type, from the tokens, ``(B, K)``.
        severity: Of the worst violation being low, moderate, high, critical, ``(B, 4)``.
        confidence: Of the types being right about whether there is any, ``(B,)``.
    """

    screening: Tensor
    types: Tensor
    severity: Tensor
    confidence: Tensor


class ViolationDetector(nn.Module):
    """Finds violations.

    Args:
        vocab_size: Of the base model.
        max_length: Most tokens of a text.
        hidden_size: D.
        settings: The options.
    """

    def __init__(self, vocab_size: int, max_length: int, hidden_size: int, settings: DetectorSettings) -> None:
        super().__init__()
        self._settings, num_types = settings, len(TYPES)
        self.token_embedding = nn.Embedding(vocab_size, hidden_size)
        self.position_embedding = nn.Embedding(max_length, hidden_size)
        self.fast_screener = head(hidden_size, hidden_size // 2, num_types)
        layer = encoder(hidden_size, settings.num_heads, settings.dropout)
        self.detailed_analyzer = nn.TransformerEncoder(layer, settings.num_layers, enable_nested_tensor=False)
        self.violation_heads = nn.Linear(hidden_size, num_types)
        self.severity_estimator = head(num_types, 16, len(SEVERITIES))
        self.confidence_estimator = head(hidden_size + num_types, hidden_size // 4, 1)
        for table in (self.token_embedding, self.position_embedding):
            nn.init.normal_(table.weight, std=0.02)
        initialise(self.fast_screener, self.violation_heads, self.severity_estimator, self.confidence_estimator)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, hidden_BLD: Tensor) -> Detection:
        """Look at texts.

        Args:
            input_ids: ``(B, L)``.
            attention_mask: ``(B, L)``, 0 where there is padding.
            hidden_BLD: Last hidden state of the language model.
        """
        embedded_BLD = self.token_embedding(input_ids) + self.position_embedding.weight[: input_ids.shape[1]]
        screening_BK = self.fast_screener(mean_over_tokens(hidden_BLD, attention_mask))
        encoded_BLD = self.detailed_analyzer(embedded_BLD, src_key_padding_mask=attention_mask == 0)
        pooled_BD = mean_over_tokens(encoded_BLD, attention_mask)
        types_BK = self.violation_heads(pooled_BD)
        found_BK = torch.sigmoid(types_BK)
        severity = self.severity_estimator(found_BK)
        confidence = self.confidence_estimator(torch.cat([pooled_BD, found_BK], -1).detach()).squeeze(-1)
        return Detection(screening_BK, types_BK, severity, confidence)

    def is_reported(self, logits_BK: Tensor) -> Tensor:
        """Tell for each text whether any type is above the threshold, ``(B,)``."""
        return torch.sigmoid(logits_BK).amax(1) > self._settings.threshold

    def loss(self, found: Detection, violations_BK: Tensor) -> Tensor:
        """Return the cross-entropies of screening, types, severity and confidence.

        Args:
            found: What `forward` returned.
            violations_BK: Severity of each type, 0 to 4, int64.
        """
        present_BK = (violations_BK > 0).float()
        worst_B = violations_BK.max(1).values
        violating_B = (worst_B > 0).float()
        loss = functional.binary_cross_entropy_with_logits(found.screening, present_BK)
        loss = loss + functional.binary_cross_entropy_with_logits(found.types, present_BK)
        severity_B = functional.cross_entropy(found.severity, (worst_B - 1).clamp(min=0), reduction="none")
        loss = loss + (severity_B * violating_B).sum() / violating_B.sum().clamp(min=1.0)
        correct_B = (self.is_reported(found.types) == (worst_B > 0)).float()
        return loss + functional.binary_cross_entropy_with_logits(found.confidence, correct_B)
