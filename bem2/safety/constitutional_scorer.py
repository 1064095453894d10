"""How well a text keeps to a constitution: seven principles with four aspects each, and one score.

Shapes: B batch, L tokens, V vocabulary, H width of the scorer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from bem2.safety.encoder import encoder, head, initialise, mean_over_tokens
from bem2.safety.settings import ASPECTS, PRINCIPLES, ScorerSettings


class Scores(NamedTuple):
    """What the scorer says of a batch.

    Attributes:
        score: ``(B,)``, 0 to 1; 1 is safe.
        logit: Of the score, ``(B,)``.
        aspects: Weighted aspects of each principle, ``(B, 28)``.
        confidence_logit: Of the score being right, ``(B,)``.
    """

    score: Tensor
    logit: Tensor
    aspects: Tensor
    confidence_logit: Tensor

    def principle(self, name: str) -> Tensor:
        """Return the mean aspect of a principle, ``(B,)``."""
        start = PRINCIPLES.index(name) * ASPECTS
        return self.aspects[:, start : start + ASPECTS].mean(1)


class ConstitutionalScorer(nn.Module):
    """A bidirectional encoder of token ids, a network for each principle, and one that makes a score of them.

    Args:
        vocab_size: V, as the base model has.
        max_length: Most tokens of a text.
        settings: The options.
    """

    principle_weights: Tensor

    def __init__(self, vocab_size: int, max_length: int, settings: ScorerSettings) -> None:
        super().__init__()
        self._settings, size = settings, settings.hidden_size
        self.token_embedding = nn.Embedding(vocab_size, size)
        self.position_embedding = nn.Embedding(max_length, size)
        layer = encoder(size, settings.num_heads, settings.dropout)
        self.input_projection = nn.Linear(size, size)
        self.text_encoder = nn.TransformerEncoder(layer, settings.num_layers, enable_nested_tensor=False)
        self.principle_evaluators = nn.ModuleDict({name: head(size, size // 2, ASPECTS) for name in PRINCIPLES})
        width = len(PRINCIPLES) * ASPECTS
        self.aggregator = head(width, width // 2, 1)
        self.confidence_estimator = head(size, size // 4, 1)
        weights = torch.tensor([settings.principle_weights.get(name, 1.0) for name in PRINCIPLES])
        self.register_buffer("principle_weights", weights, persistent=False)
        for table in (self.token_embedding, self.position_embedding):
            nn.init.normal_(table.weight, std=0.02)
        initialise(self.principle_evaluators, self.aggregator, self.confidence_estimator)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Scores:
        """Score texts.

        Args:
            input_ids: ``(B, L)``.
            attention_mask: ``(B, L)``, 0 where there is padding.
        """
        return self._score(self.token_embedding(input_ids), attention_mask)

    def judge(self, logits_BLV: Tensor, attention_mask: Tensor) -> Scores:
        """Score what a language model says, as a loss of the language model.

        The most probable tokens are scored, with the gradient of the expected embedding in place of that of the choice
        (straight-through; Bengio et al. 2013, https://arxiv.org/abs/1308.3432). The scorer itself gets no gradient, or
        it would learn to be content, and has no dropout meanwhile.

        Args:
            logits_BLV: What the model says at each place.
            attention_mask: ``(B, L)``, 0 where there is padding.
        """
        with self._judging():
            chosen_BLH = self.token_embedding(logits_BLV.argmax(-1))
            expected_BLH = logits_BLV.softmax(-1) @ self.token_embedding.weight
            return self._score(chosen_BLH + (expected_BLH - expected_BLH.detach()), attention_mask)

    def _score(self, embedded_BLH: Tensor, attention_mask: Tensor) -> Scores:
        positions = self.position_embedding.weight[: embedded_BLH.shape[1]]
        projected = self.input_projection(embedded_BLH + positions)
        encoded = self.text_encoder(projected, src_key_padding_mask=attention_mask == 0)
        pooled = mean_over_tokens(encoded, attention_mask)
        temperature = self._settings.temperature
        aspects = torch.cat(
            [
                torch.sigmoid(evaluator(pooled) / temperature) * weight
                for evaluator, weight in zip(self.principle_evaluators.values(), self.principle_weights, strict=True)
            ],
            -1,
        )
        logit = self.aggregator(aspects).squeeze(-1)
        confidence = self.confidence_estimator(pooled.detach()).squeeze(-1)
        return Scores(torch.sigmoid(logit), logit, aspects, confidence)

    @contextmanager
    def _judging(self) -> Iterator[None]:
        training, trained = self.training, [one for one in self.parameters() if one.requires_grad]
        self.eval()
        for parameter in trained:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in trained:
                parameter.requires_grad_(True)
            self.train(training)

    def loss(self, scores: Scores, safe_B: Tensor) -> Tensor:
        """Return the cross-entropy of the score, and of the confidence in it.

        Args:
            scores: What `forward` returned.
            safe_B: 1.0 for a text without a violation, 0.0 for the others.
        """
        correct = ((scores.score >= self._settings.threshold) == (safe_B > 0.5)).float()
        loss = functional.binary_cross_entropy_with_logits(scores.logit, safe_B)
        return loss + functional.binary_cross_entropy_with_logits(scores.confidence_logit, correct)
