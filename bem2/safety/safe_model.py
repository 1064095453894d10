"""A language model with the safety components around it.

Shapes: B batch, L tokens, V vocabulary, D hidden.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from bem2.safety.constitutional_scorer import ConstitutionalScorer, Scores
from bem2.safety.safety_basis import OrthogonalSafetyBasis
from bem2.safety.safety_controller import SafetyController
from bem2.safety.settings import SafetySettings
from bem2.safety.violation_detector import Detection, ViolationDetector


@dataclass(frozen=True, slots=True)
class SafeOutput:
    """What the model says, and what the components say of it.

    Attributes:
        logits: ``(B, L, V)``, with the basis at work.
        answers: Scores of the tokens that the model says.
        texts: Scores of the tokens that it was given.
        detection: Violations in the tokens that it was given.
        level: How much safety was wanted, a scalar.
        overlap: Of the bases of the layers, a scalar.
        multiplier: The price of a violation, a scalar; here, because what wraps a model for several processes looks for
            its parameters in what a forward pass returns.
    """

    logits: Tensor
    answers: Scores
    texts: Scores
    detection: Detection
    level: Tensor
    overlap: Tensor
    multiplier: Tensor


class SafeModel(nn.Module):
    """Runs the base model twice: as it is, to see how much safety the text needs, and with the basis at work.

    Args:
        base: A causal language model.
        max_length: Most tokens of a text.
        settings: The options of the component.

    Attributes:
        multiplier: The price of a violation.
    """

    def __init__(self, base: nn.Module, max_length: int, settings: SafetySettings) -> None:
        super().__init__()
        config: Any = base.config
        self.base = base
        hidden, vocabulary = config.hidden_size, config.vocab_size
        self.basis = OrthogonalSafetyBasis(hidden, len(decoder_layers(base)), settings.basis)
        self.scorer = ConstitutionalScorer(vocabulary, max_length, settings.scorer)
        self.controller = SafetyController(hidden, settings.controller)
        self.detector = ViolationDetector(vocabulary, max_length, hidden, settings.detector)
        self.multiplier = nn.Parameter(torch.tensor(settings.constraints.initial_multiplier))
        self.max_length = max_length

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> SafeOutput:
        """Run all.

        Args:
            input_ids: ``(B, L)``, L at most `max_length`.
            attention_mask: ``(B, L)``, 0 where there is padding.

        Raises:
            ValueError: The texts are too long.
        """
        if input_ids.shape[1] > self.max_length:
            raise ValueError(f"{input_ids.shape[1]} tokens are more than data.max_seq_length {self.max_length}")
        with torch.no_grad():
            plain = self.base(input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True)
        hidden_BLD = plain.hidden_states[-1]
        texts = self.scorer(input_ids, attention_mask)
        level = self.controller(hidden_BLD, texts.score)
        with parametrize.cached():
            with self.basis.attached(decoder_layers(self.base), texts.score.detach(), level):
                logits_BLV = self.base(input_ids=input_ids, attention_mask=attention_mask).logits
            overlap = self.basis.overlap()
        return SafeOutput(
            logits=logits_BLV,
            answers=self.scorer.judge(logits_BLV, attention_mask),
            texts=texts,
            detection=self.detector(input_ids, attention_mask, hidden_BLD),
            level=level,
            overlap=overlap,
            multiplier=self.multiplier.clone(),
        )


def decoder_layers(base: nn.Module) -> nn.ModuleList:
    """Return the layers of a language model: its longest list of modules.

    Raises:
        ValueError: It has none.
    """
    lists = [module for module in base.modules() if isinstance(module, nn.ModuleList)]
    if not lists:
        raise ValueError(f"{type(base).__name__} keeps its layers in no ModuleList")
    return max(lists, key=len)
