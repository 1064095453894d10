"""Turn feedback into a reward."""

from typing import Iterable

from .interfaces import FeedbackSignal


class FeedbackProcessor:
    def __init__(self, weight: float = 1.0):
        self.weight = weight

    def reward(self, signals: Iterable[FeedbackSignal]) -> float:
        values = [self.weight * signal.value for signal in signals]
        return sum(values) / len(values) if values else 0.0


if __name__ == "__main__":
    from .streaming import create_thumbs_feedback, create_tool_feedback

    print(FeedbackProcessor().reward([create_thumbs_feedback(True), create_tool_feedback(False)]))
