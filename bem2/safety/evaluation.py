"""What is measured of a safe model: its answers, the scorer, and the detector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bem2.safety.safe_model import SafeModel, SafeOutput
from bem_core.evaluation import BaseEvaluator
from bem_core.evaluation.metrics import sequence_nll


class SafetyEvaluator(BaseEvaluator):
    """Measures answers, scorer and detector, besides what the registry knows (``loss``, ``perplexity``).

    - ``utility_loss``: mean over texts of the loss of predicting the next token.
    - ``safety_score``, ``violation_rate``, ``helpfulness_score``: of the answers, by the scorer.
    - ``constitutional_score``: of the texts, by the scorer; ``scorer_accuracy``: whether it is right about them.
    - ``screening_rate``, ``average_confidence``: texts that the screener reports, and how sure it is.
    - ``detection_rate``, ``detector_accuracy``: texts that the detector reports, and whether it is right.
    - ``safety_level``: what the controller wants.

    Args:
        model: A `SafeModel`.
        config: The section ``evaluation``.
        device: Where batches go.
        threshold: Score below which an answer violates.
    """

    model: SafeModel

    def __init__(self, model: SafeModel, config: Any = None, device: Any = None, threshold: float = 0.5) -> None:
        super().__init__(model, config, device)
        self._threshold = threshold

    def _run_inference(self, batch: Any) -> Mapping[str, Any]:
        outputs: SafeOutput = self.model(batch["input_ids"], batch["attention_mask"])
        nll, num_tokens = sequence_nll(outputs.logits, batch["labels"])
        return {"nll": nll, "num_tokens": num_tokens, "loss": nll / num_tokens.clamp(min=1), "outputs": outputs}

    def _compute_component_metrics(self, outputs: Mapping[str, Any], batch: Any) -> dict[str, Tensor | float]:
        said: SafeOutput = outputs["outputs"]
        detector = self.model.detector
        screened, detected = detector.is_reported(said.detection.screening), detector.is_reported(said.detection.types)
        violates = batch["violations"].amax(1) > 0
        return {
            "utility_loss": outputs["loss"],
            "safety_score": said.answers.score,
            "violation_rate": (said.answers.score < self._threshold).float(),
            "helpfulness_score": said.answers.principle("helpfulness"),
            "constitutional_score": said.texts.score,
            "scorer_accuracy": ((said.texts.score < self._threshold) == violates).float(),
            "screening_rate": screened.float(),
            "average_confidence": torch.sigmoid(said.detection.screening).amax(1),
            "detection_rate": detected.float(),
            "detector_accuracy": (detected == violates).float(),
            "safety_level": said.level,
        }
