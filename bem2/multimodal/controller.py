"""The controller: what an image and a question have to do with each other, as a code, and the answer of the code.

Shapes: B questions, each about one image, L tokens, N patches, R regions, D width of the controller, A answers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from bem2.multimodal.features import VisionFeatures
from bem2.multimodal.routing import Router, initialise, masked_mean, move_mean
from bem2.multimodal.settings import ControllerSettings


@dataclass(frozen=True, slots=True)
class View:
    """What the controller made of an image, in its own space.

    Attributes:
        cls: ``(B, D)``.
        pool: ``(B, D)``.
        regions: ``(B, R, D)``.
        attention: Weights of the patches, ``(B, N)``; each row adds up to 1.
        text: Summary of the question, ``(B, D)``.
        gate: How much the image counts, from 0 to 1, ``(B,)``; None where that is off.
    """

    cls: Tensor
    pool: Tensor
    regions: Tensor
    attention: Tensor
    text: Tensor
    gate: Tensor | None


class VisionProjector(nn.Module):
    """Brings vision features into the space of the controller: a linear map, gated by another one (a GLU).

    Dauphin et al., https://arxiv.org/abs/1612.08083, eq. 1.
    """

    def __init__(self, vision_dim: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.base_projector = nn.Linear(vision_dim, dim)
        self.feature_gate = nn.Sequential(nn.Linear(vision_dim, dim), nn.Sigmoid())
        self.dropout = nn.Dropout(dropout)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(..., D)`` for features ``(..., vision_dim)``."""
        return self.dropout(self.base_projector(x) * self.feature_gate(x))  # type: ignore[no-any-return]


class ConflictGate(nn.Module):
    """Turns vision down where it does not fit the text, and off where the encoder did not understand the image.

    Attributes:
        gate_ema: Running mean of the gate over batches.
    """

    gate_ema: Tensor
    ema_initialized: Tensor
    #: Decay of the running mean.
    SMOOTHING = 0.9

    def __init__(self, dim: int, consistency_threshold: float, coverage_threshold: float) -> None:
        super().__init__()
        self._consistency, self._coverage = consistency_threshold, coverage_threshold
        self.conflict_detector = nn.Sequential(nn.Linear(2 * dim, dim), nn.GELU(), nn.Linear(dim, 1))
        # Open at first, so that vision gets a gradient.
        nn.init.constant_(self.conflict_detector[2].bias, 2.0)  # type: ignore[arg-type]
        self.register_buffer("gate_ema", torch.tensor(1.0))
        self.register_buffer("ema_initialized", torch.tensor(False))

    def forward(self, cls: Tensor, text: Tensor, consistency: Tensor, coverage: Tensor) -> Tensor:
        """Return how much vision counts, ``(B,)``.

        Args:
            cls: Class token of the image, ``(B, D)``.
            text: Summary of the question, ``(B, D)``.
            consistency: Of the encoder's features, ``(B,)``.
            coverage: Of the encoder's features, ``(B,)``.
        """
        gate = torch.sigmoid(self.conflict_detector(torch.cat([cls, text], dim=-1))).squeeze(-1)
        gate = gate * (consistency > self._consistency).float()
        gate = gate * (coverage > self._coverage).float()
        if self.training:
            move_mean(self.gate_ema, self.ema_initialized, gate.detach().mean(), self.SMOOTHING)
        return gate


class ChunkAligner(nn.Module):
    """Weighs the patches of an image for a chunk of the text: by what is in them, and by where they are.

    Early chunks prefer the upper left, late ones the lower right, as a text that describes an image line by line would;
    what is in a patch can outweigh that.
    """

    place: Tensor

    def __init__(self, grid: int, dim: int) -> None:
        super().__init__()
        self.alignment_net = nn.Sequential(nn.Linear(dim, dim // 2), nn.GELU(), nn.Linear(dim // 2, 1, bias=False))
        line = torch.arange(grid).float() / max(grid - 1, 1)
        self.register_buffer("place", 0.7 * line.unsqueeze(1) + 0.3 * line.unsqueeze(0), persistent=False)

    def forward(self, patches: Tensor, progress: float) -> Tensor:
        """Return weights ``(B, N)`` that add up to 1.

        Args:
            patches: ``(B, N, D)``.
            progress: Where the chunk is in the text, from 0 to 1.
        """
        prior = torch.exp(-3.0 * torch.abs(self.place - progress)).flatten()
        return torch.softmax(0.7 * prior + self.alignment_net(patches).squeeze(-1), dim=-1)


class MultimodalController(Router):
    """The levels of a `Router` with the image as their side signal, and a linear layer from codes to answers.

    Args:
        dim: D, that of the features of questions.
        vision_dim: Of the features of images.
        grid: Patches of a row.
        num_answers: A.
        settings: Sizes and switches.
    """

    def __init__(self, dim: int, vision_dim: int, grid: int, num_answers: int, settings: ControllerSettings) -> None:
        super().__init__(dim, 3 * dim, settings)
        self.vision_projector = VisionProjector(vision_dim, dim, settings.dropout)
        self.chunk_aligner = ChunkAligner(grid, dim)
        thresholds = (settings.consistency_threshold, settings.coverage_threshold)
        self.conflict_gate = ConflictGate(dim, *thresholds) if settings.conflict_gating else None
        self.answer_head = nn.Linear(settings.code_dim, num_answers)

    def forward(
        self, hidden: Tensor, mask: Tensor, features: VisionFeatures, start: int = 0
    ) -> tuple[Tensor, Tensor, View]:
        """Answer questions.

        Args:
            hidden: Features of the questions, ``(B, L, D)``.
            mask: ``(B, L)``.
            features: Of the images.
            start: First token of the chunk.

        Returns:
            Logits of the answers ``(B, A)``, codes as `Codes.code`, and what was made of the images.
        """
        text = self.summarise(hidden, mask)
        cls, pool, patches, regions = map(
            self.vision_projector, (features.cls, features.pool, features.patches, features.regions)
        )
        attention = self.chunk_aligner(patches, start / max(hidden.shape[1], 1))
        aligned = torch.bmm(attention.unsqueeze(1), patches).squeeze(1)
        side, gate = torch.cat([cls, regions.mean(dim=1), aligned], dim=-1), None
        if self.conflict_gate is not None:
            gate = self.conflict_gate(cls, text, features.consistency, features.coverage)
            side = side * gate.unsqueeze(-1)
        codes = self.route(hidden, mask, text, side, start)
        logits = self.answer_head(codes.code if codes.code.dim() == 2 else masked_mean(codes.code, mask))
        return logits, codes.code, View(cls, pool, regions, attention, text, gate)


def cosine(one: Tensor, other: Tensor) -> Tensor:
    """Return the cosine of the rows of two tensors ``(B, D)``; ``(B,)``."""
    return functional.cosine_similarity(one, other, dim=-1)
