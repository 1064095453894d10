"""Serve and learn from a stream.

Usage:
    python bem2/online/run_stream.py --config config.json --stream-only
"""

import argparse

from .online_learner import OnlineLearner, OnlineLearningConfig
from .streaming import StreamConfig, StreamProcessor, create_thumbs_feedback
from .feedback_processor import FeedbackProcessor


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", default="config.json")
    parser.add_argument("--warmup-from", default=None)
    parser.add_argument("--soak-test", action="store_true")
    parser.add_argument("--duration-hours", type=float, default=24.0)
    parser.add_argument("--stream-only", action="store_true")
    parser.add_argument("--report-only", action="store_true")
    parser.parse_args()
    learner, stream = OnlineLearner(OnlineLearningConfig()), StreamProcessor(StreamConfig())
    stream.push(create_thumbs_feedback(True))
    print(learner.phase.value, FeedbackProcessor().reward(stream.drain()))


if __name__ == "__main__":
    main()
