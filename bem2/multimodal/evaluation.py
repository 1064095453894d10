"""What is measured of a model that answers questions about images."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bem2.multimodal.answers import Answers
from bem2.multimodal.losses import answer_loss
from bem2.multimodal.model import Outputs, VisualQuestionModel
from bem2.multimodal.scores import consistency, coverage, reliance
from bem2.multimodal.settings import GateSettings
from bem_core.config.base_config import EvaluationConfig
from bem_core.evaluation import BaseEvaluator

#: What is measured besides the metrics of the registry.
MEASURED = (
    "coverage",
    "spatial_entropy",
    "consistency",
    "alignment",
    "reliance",
    "fallback_rate",
    "object_hallucination_rate",
)
_DEFAULT = ("exact_match", "token_f1")


class MultimodalEvaluator(BaseEvaluator):
    """Measures answers, and where they come from.

    Besides the metrics of the registry, of which ``exact_match`` and ``token_f1`` are measured where an experiment
    lists none, there are for each question:

    - ``loss``: the cross-entropy with what people answered;
    - ``coverage``, ``spatial_entropy``: see `scores.Coverage`;
    - ``consistency``, ``alignment``: see `scores.Consistency`;
    - ``reliance``: how far the answer may rely on the image, from 0 to 1, and ``fallback_rate``: not at all;
    - ``object_hallucination_rate``: the share of the objects it names that are not there.

    Args:
        model: The model.
        answers: What it chooses from.
        config: The section ``evaluation``.
        gate: Thresholds of ``reliance``.

    Raises:
        EvaluationError: A metric is listed that nobody measures.
    """

    model: VisualQuestionModel

    def __init__(
        self,
        model: VisualQuestionModel,
        answers: Answers,
        config: EvaluationConfig | None = None,
        gate: GateSettings | None = None,
    ) -> None:
        config = config or EvaluationConfig()
        listed = list(config.metrics or _DEFAULT)
        metrics = listed if "loss" in listed else [*listed, "loss"]
        super().__init__(model, dataclasses.replace(config, metrics=metrics))
        self._answers, self._gate = answers, gate or GateSettings()
        # Now, and not after the first part of a training.
        self._check_names(dict.fromkeys(MEASURED, 0.0))

    def _run_inference(self, batch: Any) -> Mapping[str, Any]:
        outputs: Outputs = self.model(batch)
        chosen = outputs.logits.argmax(dim=-1)
        return {
            "predictions": [self._answers.texts[number] for number in chosen.tolist()],
            "loss": answer_loss(outputs.logits, batch["targets"]),
            "chosen": chosen,
            "view": outputs.view,
        }

    def _compute_component_metrics(self, outputs: Mapping[str, Any], batch: Any) -> dict[str, Tensor]:
        covered, agreed = coverage(outputs["view"], batch["objects"]), consistency(outputs["view"])
        relied = reliance(agreed.score, covered.score, self._gate)
        wrong = torch.gather(batch["wrong"], 1, outputs["chosen"].unsqueeze(1)).squeeze(1)
        found = (covered.score, covered.entropy, agreed.score, agreed.alignment, relied, (relied == 0).float(), wrong)
        return dict(zip(MEASURED, found, strict=True))
