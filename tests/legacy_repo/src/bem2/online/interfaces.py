"""Types of the online mission."""

from dataclasses import dataclass
from enum import Enum


class LearningPhase(Enum):
    WARMUP = "warmup"
    LEARNING = "learning"
    FROZEN = "frozen"


class FeedbackType(Enum):
    THUMBS = "thumbs"
    TOOL = "tool"


@dataclass
class FeedbackSignal:
    kind: FeedbackType
    value: float
    request_id: str = ""
