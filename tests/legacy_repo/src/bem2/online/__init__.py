"""Learning while serving."""

from .interfaces import FeedbackSignal, FeedbackType, LearningPhase
from .online_learner import OnlineLearner, OnlineLearningConfig
from .streaming import StreamConfig, StreamProcessor

__all__ = [
    "FeedbackSignal",
    "FeedbackType",
    "LearningPhase",
    "OnlineLearner",
    "OnlineLearningConfig",
    "StreamConfig",
    "StreamProcessor",
]
