"""Coverage: does the controller look at what is there? Consistency: do its views of an image agree?

Shapes: B images, N patches, R regions, D width of the controller.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from bem2.multimodal.controller import View, cosine
from bem2.multimodal.settings import GateSettings
from bem2.multimodal.vision_encoder import mean_cosine, normalised_entropy


@dataclass(frozen=True, slots=True)
class Coverage:
    """Where the attention of the controller is, ``(B,)`` each.

    Attributes:
        score: Attention on the objects of an image, which is the attention correctness of Liu et al.
            (https://arxiv.org/abs/1605.09553, section 4.1); the entropy where no object is known. Uniform attention has
            the share of patches that objects touch.
        entropy: Of the attention, as a share of the greatest.
        diversity: 1 minus the mean cosine of two regions, from 0 to 2.
    """

    score: Tensor
    entropy: Tensor
    diversity: Tensor


@dataclass(frozen=True, slots=True)
class Consistency:
    """How far views of an image agree, ``(B,)`` each.

    Attributes:
        score: Mean of the other two and of the coherence, brought to 0 to 1.
        alignment: Cosine of the image and the question.
        global_local: Mean cosine of the class token and the regions.
    """

    score: Tensor
    alignment: Tensor
    global_local: Tensor


def coverage(view: View, objects: Tensor) -> Coverage:
    """Measure coverage.

    Args:
        view: Of the controller.
        objects: 1 for patches with an object, ``(B, N)``; all 0 where no object is known.
    """
    entropy = normalised_entropy(view.attention)
    diversity = _diversity(view.regions)
    on_objects = (view.attention * objects).sum(dim=-1)
    return Coverage(torch.where(objects.sum(dim=-1) > 0, on_objects, entropy), entropy, diversity)


def _diversity(regions: Tensor) -> Tensor:
    unit = functional.normalize(regions, dim=-1)
    similarity = torch.bmm(unit, unit.transpose(1, 2))
    between = similarity.sum(dim=(1, 2)) - similarity.diagonal(dim1=1, dim2=2).sum(dim=-1)
    count = regions.shape[1]
    return 1.0 - between / max(count * (count - 1), 1)


def consistency(view: View) -> Consistency:
    """Measure consistency."""
    global_local = mean_cosine(view.cls, view.regions)
    alignment = cosine(view.cls, view.text)
    coherence = (cosine(view.cls, view.pool) + mean_cosine(view.cls, view.regions)) / 2
    return Consistency((1.0 + (global_local + alignment + coherence) / 3) / 2, alignment, global_local)


def reliance(consistency_score: Tensor, coverage_score: Tensor, settings: GateSettings) -> Tensor:
    """Return how far an answer may rely on its image: 1, 0.7, 0.3 or 0, ``(B,)``.

    Args:
        consistency_score: ``(B,)``.
        coverage_score: ``(B,)``.
        settings: The thresholds.
    """
    weights = torch.zeros_like(consistency_score)
    for threshold, weight in ((settings.low, 0.3), (settings.medium, 0.7), (settings.high, 1.0)):
        weights = torch.where(consistency_score > threshold, torch.full_like(weights, weight), weights)
    return weights * (coverage_score > settings.coverage).float()
