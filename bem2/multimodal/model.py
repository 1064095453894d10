"""The whole model: features of the question, features of the image, and the controller that joins them.

Shapes: B questions, A answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from bem2.multimodal.controller import MultimodalController, View
from bem2.multimodal.features import VisionFeatures
from bem2.multimodal.vision_encoder import VisionEncoder


@dataclass(frozen=True, slots=True)
class Outputs:
    """What the model says.

    Attributes:
        logits: Of the answers, ``(B, A)``.
        codes: ``(B, C)``, or ``(B, L, C)`` with a token level.
        view: What the controller made of the images.
    """

    logits: Tensor
    codes: Tensor
    view: View


class VisualQuestionModel(nn.Module):
    """Answers questions about images.

    Args:
        text: Makes features of token ids and their mask.
        vision: Makes features of images; where all of it is frozen, it stays in evaluation mode, and batches have its
            features.
        controller: Joins them.
    """

    def __init__(self, text: nn.Module, vision: VisionEncoder, controller: MultimodalController) -> None:
        super().__init__()
        self.text = text
        self.vision = vision
        self.controller = controller

    def train(self, mode: bool = True) -> VisualQuestionModel:
        """Change the mode of what is trained."""
        super().train(mode)
        if not any(parameter.requires_grad for parameter in self.vision.parameters()):
            self.vision.eval()
        return self

    def forward(self, batch: Mapping[str, Any]) -> Outputs:
        """Answer a batch as `data.QuestionDataset` makes them."""
        features = self.vision(batch["pixels"]) if "pixels" in batch else VisionFeatures.of(batch)
        mask = batch["attention_mask"]
        return Outputs(*self.controller(self.text(batch["input_ids"], mask), mask, features))
