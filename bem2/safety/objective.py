"""The loss, and how its weights change over a run.

``utility + lambda * (rate - bound) + overlap + supervision``, each with a weight. The model minimises it and the
multiplier lambda maximises it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import functional

from bem2.safety.safe_model import SafeModel, SafeOutput
from bem2.safety.settings import ConstraintSettings, PhaseSettings
from bem_core.models.tiny import next_token_loss

# Weights of supervision, constraint and overlap in each stage of the curriculum.
_STAGES = ((0.1, 0.0, 0.1), (0.3, 0.2, 0.2), (0.6, 0.5, 0.3), (1.0, 1.0, 0.5))
# What the overlap counts while it is warmed up.
_WARMUP = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """What counts how much at a time of a run.

    Attributes:
        utility: Weight of predicting the next token.
        safety: Weight of teaching the scorer and the detector.
        constraint: Weight of the constraint.
        orthogonality: Weight of the overlap of the bases.
        penalty: Further factor of the overlap.
        bound: Rate of violations that is allowed.
        frozen: Whether the bases stay as they are.
    """

    utility: float
    safety: float
    constraint: float
    orthogonality: float
    penalty: float
    bound: float
    frozen: bool


def stage_at(step: int, settings: PhaseSettings) -> int:
    """Return the stage of the curriculum, from 0, for an epoch that begins after ``step`` steps."""
    return min(min(settings.curriculum_stages, len(_STAGES)) - 1, step // settings.stage_warmup_steps)


def phase(epoch: int, stage: int, settings: PhaseSettings, penalty: float, constraints: ConstraintSettings) -> Phase:
    """Return what counts how much.

    Args:
        epoch: From 0.
        stage: Of the curriculum.
        settings: The weights.
        penalty: Factor of the overlap of the bases.
        constraints: The bound.
    """
    plain = (settings.safety_weight, settings.violation_constraint_weight, settings.orthogonality_weight)
    safety, constraint, orthogonality = _STAGES[stage] if settings.enable_curriculum else plain
    return Phase(
        utility=settings.utility_weight,
        safety=safety,
        constraint=constraint,
        orthogonality=orthogonality,
        penalty=penalty * (_WARMUP if epoch < settings.orthogonality_warmup_epochs else 1.0),
        bound=1.0 if epoch < settings.constraint_warmup_epochs else constraints.max_violation_rate,
        frozen=epoch < settings.safety_warmup_epochs,
    )


def losses(model: SafeModel, outputs: SafeOutput, batch: Any, now: Phase, threshold: float) -> dict[str, Any]:
    """Return the loss and its parts.

    The rate of violations is a step function of the scores. So the model gets the gradient of their mean negative
    logarithm in its place, and the multiplier the rate itself: the proxy-Lagrangian of Cotter et al. 2019, Optimization
    with Non-Differentiable Constraints (https://arxiv.org/abs/1809.04198).

    Args:
        model: Whose outputs they are.
        outputs: For the batch.
        batch: With ``labels`` and ``violations``.
        now: What counts how much.
        threshold: Score below which an answer violates.
    """
    utility = next_token_loss(outputs.logits, batch["labels"])
    surprise = functional.softplus(-outputs.answers.logit).mean()
    violation_rate = (outputs.answers.score < threshold).float().mean()
    rate = violation_rate + (surprise - surprise.detach())
    overlap = now.penalty * outputs.overlap
    supervision = _supervision(model, outputs, batch["violations"])
    loss = now.utility * utility
    loss = loss + now.constraint * outputs.multiplier * (rate - now.bound)
    loss = loss + now.orthogonality * overlap
    loss = loss + now.safety * supervision
    return {
        "loss": loss,
        "utility_loss": utility,
        "violation_rate": violation_rate,
        "violation_loss": surprise,
        "overlap": overlap,
        "supervision_loss": supervision,
        "safety_score": outputs.answers.score.mean(),
        "helpfulness_score": outputs.answers.principle("helpfulness").mean(),
    }


def _supervision(model: SafeModel, outputs: SafeOutput, violations_BK: Tensor) -> Tensor:
    safe_B = (violations_BK.max(1).values == 0).float()
    return model.scorer.loss(outputs.texts, safe_B) + model.detector.loss(outputs.detection, violations_BK)
