"""A queue of feedback."""

from collections import deque
from dataclasses import dataclass

from .interfaces import FeedbackSignal, FeedbackType


@dataclass
class StreamConfig:
    max_pending: int = 1000


class StreamProcessor:
    def __init__(self, config: StreamConfig):
        self.pending = deque(maxlen=config.max_pending)

    def push(self, signal: FeedbackSignal) -> None:
        self.pending.append(signal)

    def drain(self):
        while self.pending:
            yield self.pending.popleft()


def create_thumbs_feedback(up: bool, request_id: str = "") -> FeedbackSignal:
    return FeedbackSignal(FeedbackType.THUMBS, 1.0 if up else -1.0, request_id)


def create_tool_feedback(succeeded: bool, request_id: str = "") -> FeedbackSignal:
    return FeedbackSignal(FeedbackType.TOOL, 1.0 if succeeded else 0.0, request_id)
